package action_test

import (
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor/action"
)

// TestConfig: every fault is named with its line, and its twin is fine.
func TestConfig(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := action.Load("tools.yaml", text)
		if len(want) == 0 {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			return
		}
		if err == nil {
			t.Errorf("no fault in: %s", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: want %q in: %v", text, w, err)
			}
		}
	}
	f("credentials: /c\nservers:\n  - {name: files, command: [npx, -y, x], env: {PATH: /bin}, variable: TOKEN}\n  - {name: web, url: \"https://tools.example.com/mcp\"}\n")
	f("servers:\n  - {name: files, command: [x], auth: none}\n")
	f("servers:\n  - {name: files, command: [x], auth: none}\n  - {name: files, comand: [x]}\n", `tools.yaml:3: unknown key "comand"; did you mean "command"?`)
	f("servers:\n  - {name: a.b, command: [x], auth: none}\n", `tools.yaml:2: name of a server is "a.b"`)
	f("servers:\n  - {name: a, command: [x], auth: none}\n  - {name: a, command: [x], auth: none}\n", "tools.yaml:3: server a is declared twice")
	f("servers:\n  - {name: a, auth: none}\n", "needs a command or a url")
	f("servers:\n  - {name: a, command: [x], url: \"http://h/\", auth: none}\n", "and not both")
	f("servers:\n  - {name: a, command: [x]}\n", "the variable that takes the user's credential", "their folder is not named")
	f("servers:\n  - {name: a, command: [x], auth: maybe}\n", `auth is "maybe"`)
	f("credentials: /c\nservers:\n  - {name: a, command: [x], variable: T, env: {T: x}}\n", `env cannot hold "T"`)
	f("servers:\n  - {name: a, url: \"ftp://h/\", auth: none}\n", `url is "ftp://h/"`)
	f("servers:\n  - {name: a, url: \"http://u:p@h/\", auth: none}\n", "url holds a user or a password")
	for _, host := range []string{"169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "100.100.100.200", "0.0.0.0", "[fd00:ec2::254]"} {
		f("servers:\n  - {name: a, url: \"http://"+host+"/latest\", auth: none}\n", "metadata services are never called")
	}
	f("servers:\n  - {name: a, url: \"http://h/\", headers: {Authorization: x}, auth: none}\n", "tools.yaml:2: header Authorization cannot be set here")
	f("servers:\n  - {name: a, command: [x], auth: none, tools: {t: {access: admin}}}\n", `access of t is "admin"`)

	call := func(rest string) string { return "calls:\n  - name: t.c\n    auth: none\n" + rest }
	f(call("    method: POST\n    url: https://h/p/{id}/x\n    parameters: {id: {}, title: {optional: true}}\n    body: {title: \"{title}\", fixed: [1, true, null]}\n"))
	f(call("    method: post\n    url: https://h/\n"), `method is "post"`)
	f(call("    method: GET\n    url: https://{host}/x\n    parameters: {host: {}}\n"), "place outside its path")
	f(call("    method: GET\n    url: https://h/x?q={q}\n    parameters: {q: {}}\n"), "place outside its path")
	f(call("    method: GET\n    url: https://h/p-{id}\n    parameters: {id: {}}\n"), `mixes text and a place`)
	f(call("    method: POST\n    url: https://h/\n    body: {text: \"to {who}\"}\n    parameters: {who: {}}\n"), `"to {who}" mixes text and a place`)
	f(call("    method: GET\n    url: https://h/{id}\n"), "there is no parameter id")
	f(call("    method: GET\n    url: https://h/{id}\n    parameters: {id: {optional: true}}\n"), "parameter id is optional")
	f(call("    method: GET\n    url: https://h/{id}\n    parameters: {id: {type: object}}\n"), "parameter id of the path is object")
	f(call("    method: GET\n    url: https://h/\n    parameters: {id: {}}\n"), "parameter id is used nowhere")
	f(call("    method: GET\n    url: https://h/\n    body: {a: 1}\n"), "a GET has no body")
	f(call("    method: GET\n    url: https://h/\n    statuses: {99: x}\n"), "status is 99")
	f("calls:\n  - {name: x, method: GET, url: \"https://h/\", auth: none}\n", `name of a call is "x"`)
	f("servers:\n  - {name: a, command: [x], auth: none}\ncalls:\n  - {name: a.x, method: GET, url: \"https://h/\", auth: none}\n", "call a.x has the name of a server")
	f("servers:\n  - {name: a, command: [x], auth: none}\nsources:\n  - {source: \"a:1\", tool: a.read}\n")
	f("servers:\n  - {name: a, command: [x], auth: none}\nsources:\n  - {source: \"a:1\", tool: b.read}\n", `source a:1 is read by "b.read", which is not declared`)
	f("model: {url: \"http://127.0.0.1:1/v1\", model: m}\n")
	f("model: {url: \"http://127.0.0.1:1/v1\"}\n", "model has no name")
	f("model: {url: \"http://169.254.169.254/v1\", model: m, tokens: -1, tokens_field: x}\n", "metadata", "a bound of the model is negative", `tokens_field is "x"`)
}

func FuzzLoad(f *testing.F) {
	f.Add("credentials: /c\nservers:\n  - {name: files, command: [npx], variable: T}\n")
	f.Add("calls:\n  - {name: t.c, method: POST, url: \"https://h/{id}\", parameters: {id: {}}, body: {a: \"{id}\"}, auth: none}\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = action.Load("f", text) })
}
