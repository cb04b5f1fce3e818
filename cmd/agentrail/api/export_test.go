package api

// Patterns returns the patterns of all routes.
func Patterns() []string {
	var out []string
	for _, r := range (&api{}).routes() {
		out = append(out, r.pattern)
	}
	return out
}

// PublicPatterns returns the patterns that ask for no credential.
func PublicPatterns() []string {
	var out []string
	for _, r := range (&api{}).routes() {
		if len(r.roles) == 0 {
			out = append(out, r.pattern)
		}
	}
	return out
}
