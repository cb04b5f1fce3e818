package detectors

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must be known on machines without a zone database
)

// hours are working hours: at which local time of which days.
type hours struct {
	zone     *time.Location
	from, to int // minutes of the local day; to may be below from: then it spans midnight
	days     [7]bool
}

// hoursConfig is how working hours are written in the config.
type hoursConfig struct {
	// Zone is an IANA time zone such as Europe/Berlin. Default: the tenant's.
	Zone string `yaml:"zone"`
	// Hours are the working hours, local time, such as 07:00-19:00.
	Hours string `yaml:"hours"`
	// Weekdays are the working days: mon, tue, wed, thu, fri, sat, sun.
	Weekdays []string `yaml:"weekdays"`
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parse returns the hours that c means; what c leaves out is taken from or.
func (c hoursConfig) parse(or hours) (hours, error) {
	h := or
	if c.Zone != "" {
		zone, err := time.LoadLocation(c.Zone)
		if err != nil || c.Zone == "Local" {
			return h, fmt.Errorf("zone: %q is not a time zone; write a name such as Europe/Berlin or UTC", c.Zone)
		}
		h.zone = zone
	}
	if c.Hours != "" {
		from, to, ok := strings.Cut(c.Hours, "-")
		a, errA := minutes(from)
		b, errB := minutes(to)
		if !ok || errA != nil || errB != nil || a == b {
			return h, fmt.Errorf("hours: %q is not a span of hours; write 07:00-19:00", c.Hours)
		}
		h.from, h.to = a, b
	}
	if len(c.Weekdays) > 0 {
		h.days = [7]bool{}
		for _, d := range c.Weekdays {
			i := slices.Index(dayNames, strings.ToLower(d))
			if i < 0 {
				return h, fmt.Errorf("weekdays: %q is not a day; write mon, tue, wed, thu, fri, sat or sun", d)
			}
			h.days[i] = true
		}
	}
	return h, nil
}

func minutes(s string) (int, error) {
	s = strings.TrimSpace(s)
	if s == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, err
	}
	return t.Hour()*60 + t.Minute(), nil
}

// working reports whether the moment lies within working hours, and how the
// moment reads there. The zone knows about daylight saving.
func (h *hours) working(at int64, zone *time.Location) (bool, string) {
	if h.zone != nil {
		zone = h.zone
	}
	t := time.Unix(0, at).In(zone)
	m := t.Hour()*60 + t.Minute()
	day := t.Weekday()
	in := m >= h.from && m < h.to
	if h.from > h.to {
		in = m >= h.from || m < h.to
		if m < h.to { // the shift began the day before
			day = (day + 6) % 7
		}
	}
	return in && h.days[day], t.Format("Mon 15:04 MST")
}

// String writes the hours as the config does.
func (h *hours) String() string {
	var days []string
	for i := range 7 {
		if d := (i + 1) % 7; h.days[d] {
			days = append(days, dayNames[d])
		}
	}
	span := strings.Join(days, ",")
	if len(days) == 7 {
		span = "every day"
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d %s", h.from/60, h.from%60, h.to/60, h.to%60, span)
}
