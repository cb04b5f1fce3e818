package auth

// ParseHash is parseHash; it reports whether the text is a hash and what its
// text is.
func ParseHash(text string) (string, error) {
	h, err := parseHash(text)
	return h.text, err
}
