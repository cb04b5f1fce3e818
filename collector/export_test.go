package collector

// ParseSearch is parseSearch, for its fuzz target: ids of what a search found.
func ParseSearch(raw []byte) (ids []string, err error) {
	found, err := parseSearch(raw)
	for _, f := range found {
		ids = append(ids, f.id)
	}
	return ids, err
}
