package sigma

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// mostRepeats bounds how many records one entry of a story makes.
const mostRepeats = 10_000

// repeat is an entry of a story that stands for several records.
type repeat struct {
	Repeat int            `yaml:"repeat"`
	Every  string         `yaml:"every"`
	Event  map[string]any `yaml:"event"`
}

// StoryRecords makes the records of one entry of a test beside a rule: of a map
// one record, of {repeat: N, every: 2s, event: {...}} N of them, of which the
// n-th has {n} in its texts replaced by n, from 0 on, and its dates moved by n
// times every.
func StoryRecords(n *yaml.Node) ([]*Record, error) {
	if child(n, "repeat") == nil || child(n, "event") == nil {
		var m map[string]any
		if err := n.Decode(&m); err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		r, err := recordOf(m)
		return []*Record{r}, err
	}
	var e repeat
	if err := n.Decode(&e); err != nil {
		return nil, fmt.Errorf("read repeat: %w", err)
	}
	if e.Repeat < 1 || e.Repeat > mostRepeats {
		return nil, fmt.Errorf("read repeat: %d is not from 1 to %d", e.Repeat, mostRepeats)
	}
	every := time.Second
	if e.Every != "" {
		var err error
		if every, err = time.ParseDuration(e.Every); err != nil || every < 0 {
			return nil, fmt.Errorf("read repeat: every %q is no duration such as 2s", e.Every)
		}
	}
	out := make([]*Record, e.Repeat)
	for i := range out {
		m, _ := nth(e.Event, i, every).(map[string]any)
		var err error
		if out[i], err = recordOf(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// nth is the value as the i-th of several has it.
func nth(v any, i int, every time.Duration) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = nth(e, i, every)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for j, e := range v {
			out[j] = nth(e, i, every)
		}
		return out
	case string:
		return strings.ReplaceAll(v, "{n}", strconv.Itoa(i))
	case time.Time:
		return v.Add(time.Duration(i) * every)
	}
	return v
}

func recordOf(m map[string]any) (*Record, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return ParseRecord(data)
}
