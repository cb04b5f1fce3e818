package plug_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

type part struct {
	URL       string        `yaml:"url"`
	Token     plug.Secret   `yaml:"token"`
	TokenFile string        `yaml:"token_file"`
	Every     plug.Duration `yaml:"every"`
	Max       plug.Bytes    `yaml:"max"`
	Batch     struct {
		Events int `yaml:"events"`
	} `yaml:"batch"`
}

func TestDecode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLUG_TEST_TOKEN", "from-env")
	f := func(fields string, want part) {
		t.Helper()
		c, err := plug.NewConfig("k", "n", fields)
		if err != nil {
			t.Fatal(err)
		}
		var got part
		if err := c.Decode(&got); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
		if got != want {
			t.Errorf("%s: got %#v, want %#v", fields, got, want)
		}
	}
	f("", part{})
	f("kind: k\nname: n\nurl: u", part{URL: "u"})
	f("token: literal", part{Token: "literal"})
	f("token: ${env:PLUG_TEST_TOKEN}", part{Token: "from-env"})
	f("token_file: "+file, part{Token: "from-file", TokenFile: file})
	f("every: 7d", part{Every: plug.Duration(7 * 24 * time.Hour)})
	f("every: 1m30s", part{Every: plug.Duration(90 * time.Second)})
	f("max: 64KiB", part{Max: 64 << 10})
	f("max: 1.5MB", part{Max: 1500000})
	f("max: 12", part{Max: 12})
}

func TestDecodeFaults(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		c, err := plug.NewConfig("k", "n", fields)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Decode(&part{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", fields, err, want)
		}
	}
	f("urll: x", `did you mean "url"`)
	f("batch:\n  event: 1", `line 2: unknown key "event"; did you mean "events"?`)
	f("zzzzzz: 1", "known keys: batch, every, max, token, token_file, url")
	f("token: ${env:PLUG_TEST_MISSING}", "PLUG_TEST_MISSING is not set")
	f("token: a\ntoken_file: b", "both set")
	f("token_file: /no/such/file", "no such file")
	f("every: soon", "is not a duration")
	f("max: -1", "is not a size")
}

// TestLiteralSecrets: what comes from a file holds no secret itself.
func TestLiteralSecrets(t *testing.T) {
	type inner struct {
		Key plug.Secret `yaml:"key"`
	}
	type outer struct {
		Inline    inner            `yaml:",inline"`
		Token     plug.Secret      `yaml:"token"`
		TokenFile string           `yaml:"token_file"`
		URL       plug.Secret      `yaml:"url" secret:"plain"`
		List      []inner          `yaml:"list"`
		Map       map[string]inner `yaml:"map"`
		Deep      *inner           `yaml:"deep"`
	}
	t.Setenv("PLUG_TEST_TOKEN", "from-env")
	f := func(fields string, want ...string) {
		t.Helper()
		c, err := plug.NewConfig("k", "n", fields)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Decode(&outer{}); err != nil {
			t.Errorf("%s: without a file: %v", fields, err)
		}
		c.File = "a.yaml"
		var got []string
		if err := c.Decode(&outer{}); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got %q, want %q", fields, got, want)
		}
	}
	const key = "key: the secret itself stands in the file; write key: ${env:NAME}"
	f("token: ${env:PLUG_TEST_TOKEN}\nurl: https://x/token\nkey: ''")
	f("token: hunter2", "a.yaml:1: token: the secret itself stands in the file; write token_file: PATH (mode 0600) or token: ${env:NAME}")
	f("url: x\nkey: hunter2", "a.yaml:2: "+key)
	f("list:\n- key: ${env:PLUG_TEST_TOKEN}\n- key: a${env:PLUG_TEST_TOKEN}", "a.yaml:3: "+key)
	f("map:\n  a: {key: b}\ndeep:\n  key: c", "a.yaml:2: "+key, "a.yaml:4: "+key)
	f("list:\n- &one {key: b}\nmap:\n  x: *one", "a.yaml:2: "+key, "a.yaml:2: "+key)
	f("list:\n- key: &k b\ndeep:\n  key: *k", "a.yaml:2: "+key, "a.yaml:4: "+key)
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := plug.Secret("hunter2")
	b, _ := s.MarshalText()
	for _, got := range []string{s.String(), s.GoString(), string(b)} {
		if got != "***" {
			t.Errorf("printed %q", got)
		}
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal does not give the secret")
	}
}

func TestRegistry(t *testing.T) {
	r := plug.Registry[func() int]{Family: "sink"}
	r.Register("b", func() int { return 2 })
	r.Register("a", func() int { return 1 })
	c, _ := plug.NewConfig("c", "x", "")
	if _, err := r.Lookup(c); err == nil || !strings.Contains(err.Error(), "known kinds: a, b") {
		t.Errorf("lookup of an unknown kind: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("registering twice did not panic")
		}
	}()
	r.Register("a", func() int { return 1 })
}
