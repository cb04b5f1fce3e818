package journal

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/internal/durable"
)

// A snapshot is a file: header, state, CRC32C of both. The two newest of a
// cursor are kept, so a damaged one costs a longer replay and no more.
const (
	snapshotMagic  = "ARSN0001"
	snapshotHeader = 8 + 8 // magic, offset
	snapshotsKept  = 2
)

// snapshotPrefix makes a file name of a cursor's name, whatever is in it.
func snapshotPrefix(name string) string {
	if len(name) > 64 {
		sum := sha256.Sum256([]byte(name))
		return "h" + hex.EncodeToString(sum[:]) + "-"
	}
	return "s" + hex.EncodeToString([]byte(name)) + "-"
}

func snapshotPath(dir, name string, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x.snap", snapshotPrefix(name), seq))
}

// snapshots lists the snapshots of a cursor, newest first.
func snapshots(dir, name string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range slices.Backward(files) { // ReadDir sorts by name
		if strings.HasPrefix(f.Name(), snapshotPrefix(name)) && strings.HasSuffix(f.Name(), ".snap") {
			paths = append(paths, filepath.Join(dir, f.Name()))
		}
	}
	return paths, nil
}

func writeSnapshot(path string, next Offset, state io.WriterTo) error {
	return durable.WriteFile(path, func(f io.Writer) error {
		buf := bufio.NewWriterSize(f, 1<<16)
		sum := crc32.New(castagnoli)
		w := io.MultiWriter(buf, sum)
		head := binary.LittleEndian.AppendUint64([]byte(snapshotMagic), next)
		if _, err := w.Write(head); err != nil {
			return err
		}
		if state != nil {
			if _, err := state.WriteTo(w); err != nil {
				return err
			}
		}
		if err := binary.Write(buf, binary.LittleEndian, sum.Sum32()); err != nil {
			return err
		}
		return buf.Flush()
	})
}

// readSnapshot checks the whole file before state sees a byte of it.
func readSnapshot(path string, state io.ReaderFrom) (Offset, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	next, size, err := checkSnapshot(f)
	if err != nil {
		return 0, fmt.Errorf("snapshot %s: %w", path, err)
	}
	if state != nil {
		if _, err := state.ReadFrom(bufio.NewReaderSize(io.NewSectionReader(f, snapshotHeader, size), 1<<16)); err != nil {
			return 0, fmt.Errorf("snapshot %s: %w", path, err)
		}
	}
	return next, nil
}

func checkSnapshot(f *os.File) (next Offset, state int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	state = st.Size() - snapshotHeader - 4
	if state < 0 {
		return 0, 0, fmt.Errorf("%w: it is too short", ErrCorrupt)
	}
	var sum hash.Hash32 = crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, snapshotHeader+state)); err != nil {
		return 0, 0, err
	}
	var tail [4]byte
	if _, err := f.ReadAt(tail[:], snapshotHeader+state); err != nil {
		return 0, 0, err
	}
	var head [snapshotHeader]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, 0, err
	}
	if string(head[:8]) != snapshotMagic || binary.LittleEndian.Uint32(tail[:]) != sum.Sum32() {
		return 0, 0, fmt.Errorf("%w: its checksum", ErrCorrupt)
	}
	return binary.LittleEndian.Uint64(head[8:]), state, nil
}

// snapshotSpan returns the lowest and the highest offset among the snapshots
// that are kept, or noHold and 0. Only headers are read: a wrong one holds back
// too much at worst.
func snapshotSpan(dir, name string) (oldest, newest Offset) {
	oldest = noHold
	paths, err := snapshots(dir, name)
	if err != nil {
		return oldest, 0
	}
	for i, path := range paths {
		head, err := readHead(path, snapshotHeader)
		if err != nil || string(head[:8]) != snapshotMagic {
			continue
		}
		o := binary.LittleEndian.Uint64(head[8:])
		oldest = min(oldest, o)
		if i == 0 {
			newest = o
		}
	}
	return oldest, newest
}

func readHead(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, n)
	_, err = io.ReadFull(f, p)
	return p, err
}

func removeSnapshots(dir, name string) error {
	paths, err := snapshots(dir, name)
	if err != nil {
		return err
	}
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	return errors.Join(err, durable.SyncDir(dir))
}
