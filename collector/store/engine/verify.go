package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrChecksum says that a library is not the one that was pinned.
var ErrChecksum = errors.New("checksum of the library is wrong")

// stamp is what is remembered of a verified file. As long as size, time of
// change and inode are the same, the file is not read again: whoever can
// forge these can also write the stamp and the file.
type stamp struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime_ns"`
	Inode  uint64 `json:"inode"`
}

// Verify checks that the file has the SHA-256, given in hexadecimal; empty
// means that of the pinned release. The result is remembered in a file beside
// it, with the suffix .verified, together with size, modification time and
// inode, so that the half gigabyte is not read at every start.
func Verify(path, want string) error {
	if want == "" {
		b, ok := pinned()
		if !ok {
			return fmt.Errorf("verify %s: no checksum is pinned for this system; set store.library_sha256", path)
		}
		want = b.sha256
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now := stamp{SHA256: want, Size: info.Size(), MTime: info.ModTime().UnixNano(), Inode: inode(info)}
	side := path + ".verified"
	var before stamp
	if b, err := os.ReadFile(side); err == nil && json.Unmarshal(b, &before) == nil && before == now {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("verify %s: %w: got %s, expected %s", path, ErrChecksum, got, want)
	}
	if b, err := json.Marshal(now); err == nil {
		_ = os.WriteFile(side, b, 0o644) // a read-only folder costs a second reading next time, no more
	}
	return nil
}
