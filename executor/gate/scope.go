package gate

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// Token is what the credential of an action may do.
type Token struct {
	Scopes []string
	APIKey bool // the action has a key of its own instead of the user's token
}

// Scope allows tokens that are for little, and keys that an admin allowed.
func Scope(r *Rules) Gate {
	return newJudge("scope", r, func(r *Rules, a Action) cedar.RecordMap {
		f := base(a)
		f["scopes"], f["broad"] = cedar.Long(len(a.Token.Scopes)), cedar.Long(len(broad(a.Token.Scopes)))
		f["api_key"], f["api_key_allowed"] = cedar.Boolean(a.Token.APIKey), cedar.Boolean(slices.Contains(r.APIKeys, a.Tool))
		return f
	}, func(r *Rules, a Action, policy string) why {
		if policy == "scope.api_key" {
			return why{seen: "API key of " + quote(a.Tool), allowed: quoted(r.APIKeys), line: r.line("api_keys")}
		}
		return why{seen: "scopes " + quoted(a.Token.Scopes), allowed: "scopes of one resource or verb"}
	})
}

func broad(scopes []string) (out []string) {
	for _, s := range scopes {
		if Broad(s) {
			out = append(out, s)
		}
	}
	return out
}

// Broad reports whether a scope is over everything or one of an admin: *, admin
// and root words, .all endings, and the whole-account scopes of common systems.
func Broad(scope string) bool {
	s := strings.ToLower(strings.TrimSpace(scope))
	if strings.Contains(s, "*") {
		return true
	}
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":./_- ", r) }) {
		switch word {
		case "admin", "administer", "root", "owner", "superuser", "impersonation", "impersonate", "all", "full", "everything", "sudo":
			return true
		}
	}
	switch s {
	case "repo", "drive", "api", "full_access", "https://www.googleapis.com/auth/drive", "https://mail.google.com/", "https://www.googleapis.com/auth/cloud-platform":
		return true
	}
	return false
}
