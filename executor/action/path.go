package action

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Resolve follows the links of a path as far as it exists. Anything that is no
// absolute path on this machine stays unresolved.
func Resolve(value string) string {
	if !filepath.IsAbs(value) || strings.ContainsRune(value, 0) {
		return ""
	}
	rest := ""
	for p := filepath.Clean(value); ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			return filepath.Join(real, rest)
		}
		if !errors.Is(err, os.ErrNotExist) || p == "/" {
			return ""
		}
		if _, err := os.Lstat(p); err == nil {
			return "" // a link to nowhere: where a write would go is not known
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}
