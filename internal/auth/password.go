package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Bounds of a password, bytes.
const (
	MinPassword = 12
	MaxPassword = 1024
)

// Cost of a new password hash: the first choice of OWASP for argon2id. A file
// may hold others, within bounds that one login cannot bring the server down by.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSalt    = 16
	hashKey     = 32

	maxHashMemory = 256 << 10
	maxHashTime   = 16
)

// errPassword says what a password must be.
var errPassword = fmt.Errorf("a password has %d to %d bytes", MinPassword, MaxPassword)

// hash is a password as it is kept: argon2id, in PHC string format.
type hash struct {
	text         string // as in the file; a session stands on it
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// decoy is what the password of nobody is held against, so that an unknown name
// costs the same work as a known one.
var decoy = hash{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, hashSalt), key: make([]byte, hashKey)}

// hashPassword returns the password's hash with a salt of its own.
func hashPassword(password string) (string, error) {
	if len(password) < MinPassword || len(password) > MaxPassword {
		return "", errPassword
	}
	salt := make([]byte, hashSalt)
	_, _ = rand.Read(salt) // never fails: the program ends instead
	key := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads, b64(salt), b64(key)), nil
}

// parseHash reads $argon2id$v=19$m=…,t=…,p=…$salt$key.
func parseHash(text string) (hash, error) {
	h := hash{text: text}
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return hash{}, errors.New("password is no argon2id hash of version 19 in PHC format; make one with: agentrail user passwd")
	}
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads)
	if err != nil || parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.time, h.threads) ||
		h.threads < 1 || h.memory < 8*uint32(h.threads) || h.memory > maxHashMemory || h.time < 1 || h.time > maxHashTime {
		return hash{}, fmt.Errorf("cost %.40q of the password's hash is not m=…,t=…,p=… with at most m=%d and t=%d", parts[3], maxHashMemory, maxHashTime)
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 {
		return hash{}, errors.New("salt or key of the password's hash is damaged; set the password again with: agentrail user passwd")
	}
	return h, nil
}

// is reports whether it is the hash of the password.
func (h hash) is(password string) bool {
	got := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(got, h.key) == 1
}
