package gate

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"
)

// Input is a source that a run reads content from.
type Input struct {
	Source     string
	Visibility string // public-to-org, governed or personal
	Kind       string // inbox, share, web, ... ; see Risky
	Reviewed   bool   // a moderator recorded a review
}

// Inputs allows background runs that read from trusted sources only.
func Inputs(r *Rules) Gate {
	return newJudge("inputs", r, func(_ *Rules, a Action) cedar.RecordMap {
		f := base(a)
		n := 0
		for _, in := range a.Inputs {
			if in.Untrusted() != "" {
				n++
			}
		}
		f["untrusted"] = cedar.Long(n)
		return f
	}, func(_ *Rules, a Action, _ string) why {
		for _, in := range a.Inputs {
			if u := in.Untrusted(); u != "" {
				return why{seen: fmt.Sprintf("source %s: %s", quote(in.Source), u), allowed: "public-to-org or governed sources, or a recorded review"}
			}
		}
		return why{}
	})
}

// Untrusted says why a source is not fit for background runs, or "".
func (in Input) Untrusted() string {
	switch {
	case in.Reviewed:
		return ""
	case in.Kind == "inbox":
		return "anybody can write to an inbox"
	case in.Kind == "share":
		return "an ad-hoc share is not governed"
	case in.Visibility == "personal":
		return "it is a personal space"
	case in.Visibility != "public-to-org" && in.Visibility != "governed":
		return fmt.Sprintf("its visibility is %q", in.Visibility)
	}
	return ""
}
