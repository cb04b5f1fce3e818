package sinks

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// ReadLake yields the rows of a file of the layout security_lake as the events
// in OCSF that they were. A file that is none is an error, never a panic.
func ReadLake(r io.ReaderAt, size int64, yield func(doc []byte) error) (err error) {
	defer func() {
		if p := recover(); p != nil { // the library's answer to some broken files
			err = fmt.Errorf("read Parquet: %v", p)
		}
	}()
	f, err := parquet.OpenFile(r, size)
	if err != nil {
		return fmt.Errorf("read Parquet: %w", err)
	}
	rows := parquet.NewReader(f)
	defer func() {
		if e := rows.Close(); err == nil && e != nil {
			err = fmt.Errorf("read Parquet: %w", e)
		}
	}()
	for n := range f.NumRows() {
		row := map[string]any{}
		if err := rows.Read(&row); err != nil {
			return fmt.Errorf("read row %d of Parquet: %w", n, err)
		}
		doc, err := json.Marshal(fromColumns(row))
		if err != nil {
			return fmt.Errorf("read row %d of Parquet: %w", n, err)
		}
		if err := yield(doc); err != nil {
			return err
		}
	}
	return nil
}

// fromColumns takes out what is null and makes lists of what Parquet has for
// them.
func fromColumns(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if list, ok := v["list"].([]any); ok && len(v) == 1 {
			return fromList(list)
		}
		for name, inner := range v {
			if inner = fromColumns(inner); inner == nil {
				delete(v, name)
			} else {
				v[name] = inner
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		return fromList(v)
	}
	return v
}

func fromList(list []any) any {
	out := make([]any, 0, len(list))
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && len(m) == 1 {
			if inner, ok := m["element"]; ok {
				e = inner
			}
		}
		if e = fromColumns(e); e != nil {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
