package collector

import "context"

// ParseSearch is parseSearch, for its fuzz target: ids of what a search found.
func ParseSearch(raw []byte) (ids []string, err error) {
	found, err := parseSearch(raw)
	for _, f := range found {
		ids = append(ids, f.id)
	}
	return ids, err
}

// TakeSyslog feeds a source of the kind syslog with the pieces of one stream,
// and returns why it could not be read to its end.
func TakeSyslog(ctx context.Context, s Source, pieces ...[]byte) error {
	r := &syslogReader{syslog: s.(*syslog), parser: newSyslogParser(), from: "test"}
	for i, p := range pieces {
		r.data = append(r.data, p...)
		if err := r.take(ctx, i == len(pieces)-1); err != nil {
			return err
		}
	}
	return nil
}
