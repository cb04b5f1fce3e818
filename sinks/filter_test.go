package sinks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
)

func TestFilter(t *testing.T) {
	write := schemas.Event{
		Class: schemas.ClassActivity, Access: schemas.AccessWrite, Action: "subscription.create", Tool: "jira", Status: 403,
		ActorEmail: "ann@example.com", Initiator: schemas.InitiatorSchedule, Outcome: schemas.OutcomeDenied, Flags: schemas.FlagCaseTwin,
		Raw: []byte(`{"params":{"tool":"jira"},"n":3,"deep":true}`),
	}
	f := func(source string, want, native bool) {
		t.Helper()
		filter, err := CompileFilter(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			return
		}
		if got, err := filter.Match(&write); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", source, got, err, want)
		}
		if (filter.native != nil) != native {
			t.Errorf("%s: native is %v, want %v", source, filter.native != nil, native)
		}
	}
	f("", true, true)
	f("   ", true, true)
	f(`access != "read" && class in ["activity","alert"]`, true, true)
	f(`access == "read" || status >= 400 && status < 500`, true, true)
	f(`!(access == "write")`, false, true)
	f(`action.startsWith("subscription.") && background`, true, true)
	f(`"jira" == tool && !suspicious`, false, true)
	f(`outcome in ["denied", "error"] && actor_email.endsWith("@example.com")`, true, true)
	f(`tool in ["a","b","c","d","e","f","g","h","i","jira"]`, true, true)
	f(`true`, true, true)
	f(`action.matches("^sub.*create$")`, true, false)
	f(`"case_twin" in flags`, true, false)
	f(`time > timestamp("2020-01-01T00:00:00Z")`, false, false)
	f(`size(actor_email) > 5 && access == "write"`, true, false)
	f(`duration < duration("1s")`, true, false)
	f(`record["params.tool"] == "jira" && record["n"] > 2 && record["deep"] == true`, true, false)
	f(`record.n == 3 && record["missing"] == null && !("missing" in record) && "n" in record`, true, false)
	f(`event_id == "00000000000000000000000000000000"`, true, false)
}

func TestFilterFaults(t *testing.T) {
	f := func(source string, want ...string) {
		t.Helper()
		_, err := CompileFilter(source)
		if err == nil {
			t.Errorf("%s: compiles", source)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", source, err, w)
			}
		}
	}
	f(`acess != "read"`, "line 1, column 1", "acess", "known fields", "access")
	f("access != \"read\" &&\n  status == \"403\"", "line 2, column 10")
	f(`access == "writ"`, "line 1, column 11", `access is never "writ"`, "unknown, read, write, admin")
	f(`class in ["activity", "alarm"]`, `class is never "alarm"`)
	f(`"nobody" != initiator`, `initiator is never "nobody"`)
	f(`actor`, "type string, not bool")
	f(`access ==`, "line 1")
	f(`access == "read" || record.exists(k, k == "n")`, "column 21", "can only be asked for a path")
	f(`size(record) > 0`, "can only be asked")
	f(`[record].exists(r, r.exists(k, true))`, "can only be asked")
	f(`record == record`, "can only be asked")
	f(strings.Repeat("true||", 4000)+"true", "longer than")
}

func TestFilterWithoutValue(t *testing.T) {
	for _, source := range []string{`100 / status > 1`, `record["n"] > 1`} {
		filter, err := CompileFilter(source)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := filter.Match(&schemas.Event{Class: schemas.ClassActivity}); err == nil {
			t.Errorf("%s has a value", source)
		}
	}
	expensive, err := CompileFilter(`[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e > status)))))`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := expensive.Match(&schemas.Event{}); err == nil {
		t.Error("an expression without bound was evaluated to the end")
	}
}

// FuzzFilterAgrees builds an expression and an event from the seed and holds
// the closures to what cel-go says.
func FuzzFilterAgrees(f *testing.F) {
	for i := range uint64(100) {
		f.Add(i, i*7)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		source := randomExpr(r, 4)
		filter, err := CompileFilter(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if filter.native == nil {
			t.Fatalf("%s: not native", source)
		}
		for range 20 {
			ev := randomEvent(r)
			want, err := filter.eval(&ev)
			if err != nil {
				t.Fatalf("%s: %v", source, err)
			}
			if got := filter.native(&ev); got != want {
				t.Fatalf("%s: closures say %v, cel-go %v, for %+v", source, got, want, ev)
			}
		}
	})
}

// FuzzFilterCompile gives any text to the compiler.
func FuzzFilterCompile(f *testing.F) {
	for _, s := range []string{`access != "read"`, `actor.matches("(a+)+$")`, `[1][2] == 1`, "\x00", `"\xff" == tool`, `flags.exists(x, x == "a")`, `record["a.b"] == record.c`, `dyn(record) == 1`} {
		f.Add(s, "tool", int64(1))
	}
	f.Fuzz(func(t *testing.T, source, text string, n int64) {
		filter, err := CompileFilter(source)
		if err != nil {
			return
		}
		ev := schemas.Event{Tool: text, Actor: text, Time: n, Duration: n, Status: int32(n), Access: schemas.Access(n)}
		got, err := filter.Match(&ev)
		if want, werr := filter.evalIfCEL(&ev); filter.native != nil && (want != got || (werr == nil) != (err == nil)) {
			t.Errorf("%q: closures say %v, cel-go %v, %v", source, got, want, werr)
		}
	})
}

func (f *Filter) evalIfCEL(ev *schemas.Event) (bool, error) {
	if f.prog == nil {
		return f.native(ev), nil
	}
	return f.eval(ev)
}

var randomTexts = []string{"", "a", "jira", "subscription.create", "täst", "\xff\xfe", "x\x00y"}

func randomEvent(r *rand.Rand) schemas.Event {
	ev := schemas.Event{
		Class: schemas.Class(r.IntN(8)), Initiator: schemas.Initiator(r.IntN(7)), Access: schemas.Access(r.IntN(6)),
		Outcome: schemas.Outcome(r.IntN(7)), Autonomous: schemas.Tri(r.IntN(5)), Status: int32(r.IntN(5)) * 100, Flags: schemas.Flags(r.Uint32()),
	}
	for i := range fields {
		if fields[i].str != nil {
			*fields[i].str(&ev) = randomTexts[r.IntN(len(randomTexts))]
		}
	}
	return ev
}

func randomExpr(r *rand.Rand, depth int) string {
	if depth > 0 && r.IntN(3) > 0 {
		switch r.IntN(3) {
		case 0:
			return "!(" + randomExpr(r, depth-1) + ")"
		case 1:
			return "(" + randomExpr(r, depth-1) + " && " + randomExpr(r, depth-1) + ")"
		default:
			return "(" + randomExpr(r, depth-1) + " || " + randomExpr(r, depth-1) + ")"
		}
	}
	var plain []field
	for _, f := range fields {
		if f.dyn == nil {
			plain = append(plain, f)
		}
	}
	f := plain[r.IntN(len(plain))]
	op := []string{"==", "!="}[r.IntN(2)]
	texts := []string{"", "a", "jira", "subscription.create", "täst"}
	switch {
	case f.enum != nil:
		names := slices.DeleteFunc(slices.Clone(f.enc), func(s string) bool { return s == "" })
		if r.IntN(2) == 0 {
			return fmt.Sprintf("%s in [%q, %q]", f.name, names[r.IntN(len(names))], names[r.IntN(len(names))])
		}
		return fmt.Sprintf("%s %s %q", f.name, op, names[r.IntN(len(names))])
	case f.num != nil:
		return fmt.Sprintf("%s %s %d", f.name, []string{"==", "!=", "<", "<=", ">", ">="}[r.IntN(6)], r.IntN(5)*100)
	case f.flag != nil:
		return f.name
	}
	text := texts[r.IntN(len(texts))]
	switch r.IntN(4) {
	case 0:
		return fmt.Sprintf("%s.%s(%q)", f.name, []string{"startsWith", "endsWith", "contains"}[r.IntN(3)], text)
	case 1:
		return fmt.Sprintf("%s in [%q, %q]", f.name, text, texts[r.IntN(len(texts))])
	}
	return fmt.Sprintf("%s %s %q", f.name, op, text)
}

func BenchmarkFilter(b *testing.B) {
	ev := schemas.Event{Class: schemas.ClassActivity, Access: schemas.AccessWrite, Action: "subscription.create"}
	for _, source := range []string{`access != "read" && class in ["activity","alert"]`, `access != "read" && action.matches("^sub")`} {
		f, err := CompileFilter(source)
		if err != nil {
			b.Fatal(err)
		}
		name := "native"
		if f.native == nil {
			name = "cel"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := f.Match(&ev); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
		b.Run(name+"-by-cel-go", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := f.eval(&ev); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
