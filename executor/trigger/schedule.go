package trigger

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/internal/plug"
)

// schedule is when a subscription runs.
type schedule struct {
	cron   cron.Schedule
	zone   *time.Location
	fixed  bool // at hours that are named: not again in an hour that the clock repeats
	jitter time.Duration
}

// scheduleOf is the agent's schedule, or what the subscription puts in its
// place. It is nil if there is none.
func scheduleOf(spec *executor.Spec, override []byte) (*schedule, error) {
	if spec == nil || spec.Trigger == nil || spec.Trigger.Schedule == nil {
		return nil, nil
	}
	s := *spec.Trigger.Schedule
	if len(override) > 0 {
		var o struct{ Cron, Zone, Jitter string }
		if err := json.Unmarshal(override, &o); err != nil {
			return nil, fmt.Errorf("read schedule of the subscription: %w", err)
		}
		s.Cron, s.Zone = cmp.Or(o.Cron, s.Cron), cmp.Or(o.Zone, s.Zone)
		if o.Jitter != "" {
			var d plug.Duration
			if err := d.UnmarshalText([]byte(o.Jitter)); err != nil {
				return nil, fmt.Errorf("read jitter of the subscription: %w", err)
			}
			s.Jitter = d
		}
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		return nil, fmt.Errorf("read schedule: %w", err)
	}
	c, err := cron.ParseStandard("CRON_TZ=" + s.Zone + " " + s.Cron)
	if err != nil {
		return nil, fmt.Errorf("read schedule %q: %w", s.Cron, err)
	}
	fields := strings.Fields(s.Cron)
	fixed := len(fields) == 5 && !strings.ContainsAny(fields[1], "*?/")
	return &schedule{cron: c, zone: zone, fixed: fixed, jitter: time.Duration(s.Jitter)}, nil
}

// next is the first time after t, or zero if there is none. What would be in an
// hour that the clock leaves out comes an hour later. In an hour that the clock
// repeats, a schedule at named hours comes once, and one of every so many
// minutes or hours goes on.
func (s *schedule) next(t time.Time) time.Time {
	for {
		t = s.cron.Next(t)
		if t.IsZero() || !s.fixed || !repeated(t.In(s.zone)) {
			return t
		}
	}
}

// repeated reports whether the clock has shown this time before.
func repeated(t time.Time) bool {
	began, _ := t.ZoneBounds()
	if began.IsZero() {
		return false
	}
	_, now := t.Zone()
	_, before := began.Add(-time.Second).Zone()
	return t.Sub(began) < time.Duration(before-now)*time.Second
}

// delay is the jitter of one run. It follows from the subscription and the time,
// so that a restart does not move it.
func (s *schedule) delay(subscription string, at time.Time) time.Duration {
	if s.jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(subscription))
	_ = binary.Write(h, binary.BigEndian, at.Unix())
	return time.Duration(h.Sum64() % uint64(s.jitter))
}
