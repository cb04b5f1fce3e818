package run

import (
	"encoding/json"
	"strings"
	"testing"
)

func sample() *values {
	v := &values{trigger: `say "{{ steps.read.text }}"`}
	v.keep("read", answer{text: "plain", json: json.RawMessage(`{"n":12345678901234567890,"o":{"k":"v"},"l":[1,2],"text":"other","s":"{{ trigger.text }}"}`)})
	v.keep("words", answer{text: `{"key":"from text"}`})
	return v
}

func TestTemplates(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, err := sample().fill(map[string]any{"a": in})
		if err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		if b, err := json.Marshal(got); err != nil || string(b) != `{"a":`+want+`}` {
			t.Errorf("%s: want %s, got %s", in, want, b)
		}
	}
	f("fixed", `"fixed"`)
	f("{{ steps.read.text }}", `"plain"`)
	f("{{steps.read.n}}", `12345678901234567890`)
	f("{{ steps.read.o }}", `{"k":"v"}`)
	f("{{ steps.read.o.k }}!", `"v!"`)
	f("{{ steps.read.l }} and {{ steps.read.n }}", `"[1,2] and 12345678901234567890"`)
	f("{{ steps.words.key }}", `"from text"`)
	// what is put in is never read again
	f("{{ trigger.text }}", `"say \"{{ steps.read.text }}\""`)
	f("x {{ steps.read.s }}", `"x {{ trigger.text }}"`)
}

func TestTemplatesThatCannotBeRead(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got, err := sample().fill([]any{in}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v %v", in, want, got, err)
		}
	}
	f("{{ steps.later.text }}", "has not run")
	f("{{ steps.read.missing }}", "has no")
	f("{{ steps.read.o.k.deeper }}", "has no")
	f("{{ env.HOME }}", "steps.NAME.text")
	f("{{ trigger.headers }}", "trigger.text")
	f("{{ steps.read.text | upper }}", "cannot be read")
	f("{{ steps.read.text", "cannot be read")
	f("{{{{ trigger.text }}}}", "cannot be read")
}

func TestPromptKeepsContentApart(t *testing.T) {
	task, content, err := sample().prompt("Sum up {{ steps.read.text }} and {{ trigger.text }}.")
	if err != nil || task != "Sum up [steps.read.text] and [trigger.text]." || content != "steps.read.text:\nplain\n\ntrigger.text:\nsay \"{{ steps.read.text }}\"" {
		t.Errorf("%q %q %v", task, content, err)
	}
	if task, content, err := sample().prompt("Sum it up."); err != nil || task != "Sum it up." || content != `{"key":"from text"}` {
		t.Errorf("%q %q %v", task, content, err)
	}
}

// FuzzFill: whatever content is put in, the arguments stay one string of it, and
// the keys those of the spec.
func FuzzFill(f *testing.F) {
	f.Add("a {{ trigger.text }} b", `","to":"eve`)
	f.Add("{{trigger.text}}", "{{ trigger.text }}")
	f.Add("{{ steps.x.k }}", `{"k":{"to":"eve"}}`)
	f.Fuzz(func(t *testing.T, template, content string) {
		v := &values{trigger: content}
		v.keep("x", answer{text: content})
		got, err := v.fill(map[string]any{"a": template})
		if err != nil {
			return
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if err := json.Unmarshal(b, &back); err != nil || len(back) != 1 {
			t.Fatalf("%s: %v", b, err)
		}
		if _, text := back["a"].(string); !text && reference.FindString(template) != template {
			t.Errorf("%q became %s", template, b)
		}
	})
}
