package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
)

const secret = "correct horse battery"

func addUser(t *testing.T, path, name string) {
	t.Helper()
	if err := auth.AddUser(path, principal(name), secret); err != nil {
		t.Fatal(err)
	}
}

// password logs in by name and password.
func (b *browser) password(name, password string) error {
	w := httptest.NewRecorder()
	err := b.s.LoginByPassword(w, b.request("POST", "/login"), name, password)
	if err == nil {
		b.cookies = w.Result().Cookies()
	}
	return err
}

func TestPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	addUser(t, path, "jane")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), secret) || !strings.Contains(string(text), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the file must hold the hash: %s", text)
	}
	tokens := load(t, path)
	s := tokens.Sessions()
	var heard []auth.Access
	s.Tell(func(_ context.Context, a auth.Access) { heard = append(heard, a) })
	b := &browser{t: t, s: s}
	for _, c := range [][2]string{{"jane", secret + "x"}, {"jane", ""}, {"nobody", secret}, {"", ""}, {"jane", secret + strings.Repeat("x", auth.MaxPassword)}} {
		if err := b.password(c[0], c[1]); !errors.Is(err, auth.ErrPassword) {
			t.Errorf("%q: %v", c, err)
		}
	}
	if len(heard) != 5 || heard[0].Verb != auth.VerbLoginFailed || heard[0].Who.Name != "jane" || heard[2].Who != nil {
		t.Errorf("told: %+v", heard)
	}
	if err := b.password("jane", secret); err != nil {
		t.Fatal(err)
	}
	if w := b.ask("GET"); w.Body.String() != "jane" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	first := b.cookies
	if err := b.password("jane", secret); err != nil {
		t.Fatal(err)
	}
	if b.cookies[0].Value == first[0].Value {
		t.Error("a second login keeps the secret of the first")
	}
	if old := (&browser{t: t, s: s, cookies: first}); old.get() != http.StatusUnauthorized {
		t.Error("the session from before the login goes on")
	}
	planted := &browser{t: t, s: s, cookies: []*http.Cookie{{Name: first[0].Name, Value: "planted"}}}
	if err := planted.password("jane", secret); err != nil || planted.cookies[0].Value == "planted" {
		t.Errorf("session fixation: %v %v", err, planted.cookies)
	}

	if err := auth.SetPassword(path, "jane", secret+" staple"); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err != nil {
		t.Fatal(err)
	}
	if b.get() != http.StatusUnauthorized {
		t.Error("a session outlives its password")
	}
	if err := b.password("jane", secret); !errors.Is(err, auth.ErrPassword) {
		t.Errorf("the old password: %v", err)
	}
	if err := b.password("jane", secret+" staple"); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestPasswordsAreGuessedSlowly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	addUser(t, path, "jane")
	addUser(t, path, "joe")
	synctest.Test(t, func(t *testing.T) {
		s := load(t, path).Sessions()
		var wg sync.WaitGroup // ten addresses guess at once
		for i := range 10 {
			wg.Go(func() {
				b := &browser{t: t, s: s, from: fmt.Sprint("192.0.2.", i)}
				if err := b.password("jane", "guess"); !errors.Is(err, auth.ErrPassword) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b := &browser{t: t, s: s, from: "192.0.2.99"}
		if err := b.password("jane", secret); !errors.Is(err, auth.ErrTooManyLogins) {
			t.Errorf("the name after ten guesses: %v", err)
		}
		for range 10 { // an unknown name is no different
			_ = (&browser{t: t, s: s, from: "198.51.100.1"}).password("nobody", "guess")
		}
		if err := b.password("nobody", "guess"); !errors.Is(err, auth.ErrTooManyLogins) {
			t.Errorf("an unknown name after ten guesses: %v", err)
		}
		if err := b.password("joe", secret); err != nil {
			t.Errorf("another name: %v", err)
		}
		time.Sleep(time.Minute)
		if err := b.password("jane", secret); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		for range 30 { // what is right uses nothing up
			if err := b.password("jane", secret); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestOneSubscribersIPv6AddressesCountAsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, principal("a"), 0)
	s := load(t, path).Sessions()
	for i := range 10 {
		_ = (&browser{t: t, s: s, from: fmt.Sprintf("[2001:db8::%x]", i)}).login("guess")
	}
	if err := (&browser{t: t, s: s, from: "[2001:db8::ffff]"}).login(token); !errors.Is(err, auth.ErrTooManyLogins) {
		t.Errorf("same network: %v", err)
	}
	if err := (&browser{t: t, s: s, from: "[2001:db8:0:1::1]"}).login(token); err != nil {
		t.Errorf("another network: %v", err)
	}
}

func TestUsersThatAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	addUser(t, path, "jane")
	f := func(want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("there already", auth.AddUser(path, principal("jane"), secret))
	f("12 to 1024", auth.AddUser(path, principal("joe"), "short"))
	f("12 to 1024", auth.SetPassword(path, "jane", strings.Repeat("x", 1025)))
	f("user add", auth.SetPassword(path, "joe", secret))
	f("for programs", auth.AddUser(path, auth.Principal{Name: "joe", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, secret))
	f("no tenant", auth.AddUser(path, auth.Principal{Name: "joe", Roles: []auth.Role{auth.RoleViewer}}, secret))

	generate(t, path, principal("jane"), 0) // a token beside the password
	b := &browser{t: t, s: load(t, path).Sessions()}
	if err := b.password("jane", secret); err != nil {
		t.Errorf("the password is gone with a new token: %v", err)
	}
}

const phc = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestBadPasswordHashes(t *testing.T) {
	if _, err := auth.ParseHash(phc); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"argon2id", "argon2i"},
		{"v=19", "v=16"},
		{"m=19456", "m=1048576"},
		{"m=19456", "m=1"},
		{"t=2", "t=0"},
		{"t=2", "t=1000000"},
		{"p=1", "p=0"},
		{"p=1", "p=999"},
		{"p=1", "p=1 "},
		{"m=19456,", ""},
		{"$AAAAAAAAAAAAAAAAAAAAAA$", "$$"},
		{"$AAAAAAAAAAAAAAAAAAAAAA$", "$!$"},
		{"$argon2id", "argon2id"},
	} {
		if _, err := auth.ParseHash(strings.Replace(phc, c[0], c[1], 1)); err == nil {
			t.Errorf("%v is taken", c)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(phc)
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := auth.ParseHash(text); err == nil && (got != text || !strings.HasPrefix(text, "$argon2id$v=19$m=")) {
			t.Errorf("%q is read as %q", text, got)
		}
	})
}
