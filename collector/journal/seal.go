package journal

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// A sealed record is stored as: length of the key id (1 byte), key id, nonce of
// the AEAD, ciphertext with tag. Its digest covers these bytes, so that losing
// the key erases the content and leaves the evidence that it existed. The
// journal never opens one: its events carry the stored bytes as Raw.

// Seal returns the stored form of a record, for a batch whose record carries
// FlagSealed. The key id is authenticated with the content.
func Seal(keyID string, aead cipher.AEAD, plain []byte) ([]byte, error) {
	if keyID == "" || len(keyID) > 255 {
		return nil, fmt.Errorf("seal record: key id has %d bytes; it takes 1 to 255", len(keyID))
	}
	head := append([]byte{byte(len(keyID))}, keyID...)
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(append(head, nonce...), nonce, plain, head), nil
}

// SealedKey returns the key id of a sealed record.
func SealedKey(stored []byte) (string, error) {
	if len(stored) == 0 || stored[0] == 0 || len(stored) < 1+int(stored[0]) {
		return "", errors.New("record is not a sealed one")
	}
	return string(stored[1 : 1+int(stored[0])]), nil
}

// Unseal returns the content of a sealed record.
func Unseal(aead cipher.AEAD, stored []byte) ([]byte, error) {
	id, err := SealedKey(stored)
	if err != nil {
		return nil, err
	}
	head, rest := stored[:1+len(id)], stored[1+len(id):]
	if len(rest) < aead.NonceSize() {
		return nil, errors.New("record is not a sealed one")
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], head)
	if err != nil {
		return nil, fmt.Errorf("unseal record of key %q: %w", id, err)
	}
	return plain, nil
}
