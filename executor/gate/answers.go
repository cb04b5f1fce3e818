package gate

import "context"

// Answers asks every gate, also those behind one that denies, and names each:
// what a reviewer wants to see before a write is enabled.
func (c Chain) Answers(ctx context.Context, a Action) []Verdict {
	out := make([]Verdict, 0, len(c))
	for _, g := range c {
		v := check(ctx, g, a)
		if j, ok := g.(*judge); ok {
			v.Gate = j.name
		}
		out = append(out, v)
	}
	return out
}
