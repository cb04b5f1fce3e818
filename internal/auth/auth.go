// Package auth says who calls and what they may: principals from a token file or
// an OpenID Connect provider, sessions of browsers, and one middleware for every
// listener. Deny is the default.
package auth

import (
	"context"
	"slices"
)

// Role is what a principal may do. Roles do not include one another.
type Role string

// Roles.
const (
	RoleIngest    Role = "ingest"    // send records to its sources
	RoleExecutor  Role = "executor"  // the agent executor
	RoleMember    Role = "member"    // subscribes, sees own runs
	RoleCreator   Role = "creator"   // builds agents
	RoleViewer    Role = "viewer"    // reads events, runs and alerts
	RoleAnalyst   Role = "analyst"   // works alerts
	RoleModerator Role = "moderator" // publishes agents
	RoleAdmin     Role = "admin"     // changes and repairs
	RoleAuditor   Role = "auditor"   // reads evidence
)

var allRoles = []Role{RoleIngest, RoleExecutor, RoleMember, RoleCreator, RoleViewer, RoleAnalyst, RoleModerator, RoleAdmin, RoleAuditor}

// people are the roles of people; the others are for programs.
var people = []Role{RoleMember, RoleCreator, RoleViewer, RoleAnalyst, RoleModerator, RoleAdmin, RoleAuditor}

// Roles returns all roles.
func Roles() []Role { return slices.Clone(allRoles) }

// Principal is a caller that was recognised. Tenant comes from here only.
type Principal struct {
	Name    string
	Tenant  string
	Roles   []Role
	Sources []string // sources it may send to; empty means all of its tenant
}

// Has reports whether the principal has one of the roles.
func (p *Principal) Has(roles ...Role) bool {
	return slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(p.Roles, r) })
}

// MaySend reports whether the principal may send records to the source.
func (p *Principal) MaySend(source string) bool {
	return p.Has(RoleIngest) && (len(p.Sources) == 0 || slices.Contains(p.Sources, source))
}

type contextKey struct{}

// WithPrincipal returns a context that carries the caller.
func WithPrincipal(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// FromContext returns the caller, or false where no middleware ran.
func FromContext(ctx context.Context) (*Principal, bool) {
	p, ok := ctx.Value(contextKey{}).(*Principal)
	return p, ok
}
