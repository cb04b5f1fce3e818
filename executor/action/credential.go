package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxCredential caps a credential and its scopes, bytes.
const maxCredential = 16 << 10

// minHidden is the length from which a credential is looked for in what leaves
// this package; shorter ones would blank out words.
const minHidden = 6

// credential of one user for one tool or server. It is read for every call, so
// that one that was taken away is not used again.
type credential struct {
	user   string
	name   string // of its file, without the ending
	secret string // empty with auth none
	scopes []string
	apiKey bool
}

// String keeps the secret out of what is printed.
func (c credential) String() string { return c.user + "/" + c.name }

// GoString keeps the secret out of what is printed.
func (c credential) GoString() string { return c.String() }

// credential finds the user's credential for the tool: that of the tool, else
// that of its server.
func (s *Set) credential(user, tool string) (credential, error) {
	if !plainName(user) {
		return credential{}, fmt.Errorf("find credential of %+q: %w; a user's name has no slash and begins with no dot", cut(user, maxTool), ErrNoCredential)
	}
	var auth string
	var scopes []string
	if h, ok := s.calls[tool]; ok {
		auth, scopes = h.d.Auth, h.d.Scopes
	} else if v, ok := s.servers[serverOf(tool)]; ok {
		auth, scopes = v.d.Auth, v.d.Scopes
	} else {
		return credential{}, fmt.Errorf("find credential for tool %+q: %w", cut(tool, maxTool), ErrUnknown)
	}
	if auth == authNone {
		if len(scopes) == 0 {
			scopes = []string{tool}
		}
		return credential{user: user, scopes: scopes}, nil
	}
	for _, name := range []string{tool, serverOf(tool)} {
		if !plainName(name) {
			continue
		}
		c, err := readCredential(s.c.Credentials, user, name)
		if err == nil {
			c.apiKey = auth == authAPIKey
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return credential{}, fmt.Errorf("find credential of %s for %s: %w; put it into %s with mode 0600", user, tool, ErrNoCredential, filepath.Join(s.c.Credentials, user, serverOf(tool)+".token"))
}

// plainName reports whether a name is one element of a path, as it is.
func plainName(s string) bool {
	return s != "" && len(s) <= 200 && s[0] != '.' && !strings.ContainsAny(s, "/\\\x00\n\r")
}

// readCredential reads USER/NAME.token and, if it is there, USER/NAME.scopes.
// The error wraps fs.ErrNotExist if there is no token.
func readCredential(dir, user, name string) (credential, error) {
	c := credential{user: user, name: name}
	for _, folder := range []string{dir, filepath.Join(dir, user)} {
		if err := private(folder, true); err != nil {
			return c, err
		}
	}
	token, err := readPrivate(filepath.Join(dir, user, name+".token"))
	if err != nil {
		return c, err
	}
	c.secret = strings.TrimRight(string(token), "\r\n")
	if c.secret == "" || strings.ContainsAny(c.secret, "\r\n\x00") {
		return c, fmt.Errorf("credential %s is empty or has more than one line", filepath.Join(dir, user, name+".token"))
	}
	scopes, err := readPrivate(filepath.Join(dir, user, name+".scopes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	c.scopes = strings.Fields(string(scopes))
	return c, nil
}

// private refuses what others could read, and links: one would make a user's
// credential that of another.
func private(path string, folder bool) error {
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	mode, want := "0600", "file"
	if folder {
		mode, want = "0700", "folder"
	}
	if st.IsDir() != folder || !folder && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no %s of its own", path, want)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %#o: others could read it; run: chmod %s %s", path, st.Mode().Perm(), strings.TrimPrefix(mode, "0"), path)
	}
	return nil
}

func readPrivate(path string) ([]byte, error) {
	if err := private(path, false); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCredential+1))
	if err == nil && len(b) > maxCredential {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxCredential)
	}
	return b, err
}

// hide takes the secret out of an error, which keeps what it wraps.
func (c credential) hide(err error) error {
	if err == nil || len(c.secret) < minHidden || !strings.Contains(err.Error(), c.secret) {
		return err
	}
	return &hidden{text: strings.ReplaceAll(err.Error(), c.secret, "***"), err: err}
}

// hidden is an error without the secret in its text.
type hidden struct {
	text string
	err  error
}

func (h *hidden) Error() string { return h.text }

// Is lets callers tell errors apart without reaching the one with the secret.
func (h *hidden) Is(target error) bool { return errors.Is(h.err, target) }

// clean takes the secret out of an answer that repeats it.
func (c credential) clean(r Result) Result {
	if len(c.secret) < minHidden {
		return r
	}
	r.Text = strings.ReplaceAll(r.Text, c.secret, "***")
	quoted := must(c.secret)
	quoted = quoted[1 : len(quoted)-1]
	for _, form := range [][]byte{[]byte(c.secret), quoted} {
		r.JSON, r.Content = replace(r.JSON, form), replace(r.Content, form)
	}
	return r
}

func replace(text json.RawMessage, secret []byte) json.RawMessage {
	if !bytes.Contains(text, secret) {
		return text
	}
	return bytes.ReplaceAll(text, secret, []byte("***"))
}
