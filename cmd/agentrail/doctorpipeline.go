package main

import (
	"fmt"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// examinePipeline judges what belongs to the whole server.
func examinePipeline(st *api.Status, now time.Time) (out []finding) {
	out = append(out, examineJournal(&st.Journal, now)...)
	out = append(out, examineStore(&st.Store)...)
	out = append(out, examineConsumers(st.Consumers)...)
	for i := range st.Sinks {
		out = append(out, examineSink(&st.Sinks[i], st.Consumers))
	}
	for _, r := range st.Receivers {
		out = append(out, examineReceiver(r, now))
	}
	out = append(out, examineNotary(st, now))
	for _, l := range st.Learning {
		out = append(out, examineLearning(l))
	}
	return out
}

func examineJournal(j *api.JournalStatus, now time.Time) []finding {
	if j.Refusing != "" {
		return []finding{{levelFail, "journal", "intake is refused: " + j.Refusing, "free space on the disk, raise journal.max_bytes, or mend the consumer that holds it; alerts still work"}}
	}
	text := fmt.Sprintf("%s of %s", size(j.Bytes), size(j.MaxBytes))
	if !j.Oldest.IsZero() {
		text += ", the oldest record is " + ago(now.Sub(j.Oldest)) + " old"
	}
	if j.DiskFree >= 0 {
		text += ", " + size(j.DiskFree) + " of the disk are free"
	}
	switch {
	case j.MaxBytes > 0 && float64(j.Bytes) > 0.85*float64(j.MaxBytes):
		return []finding{{levelWarn, "journal", text + ": soon intake is refused", "raise journal.max_bytes, shorten journal.retention, or mend the consumer that is behind"}}
	case j.DiskFree >= 0 && j.DiskFree < min(j.MaxBytes-j.Bytes, 1<<30):
		return []finding{{levelWarn, "journal", text + ": the disk is full before the journal is", "free space, or lower journal.max_bytes so that it is refused in time"}}
	case j.DiskFree >= 0 && j.DiskFree < j.MaxBytes-j.Bytes:
		return []finding{{levelNote, "journal", text + ", less than the journal may still take", "lower journal.max_bytes or give it a larger disk"}}
	}
	return []finding{{levelOK, "journal", text, ""}}
}

func examineStore(s *api.StoreStatus) []finding {
	text := s.Kind
	if s.Resident > 0 {
		text += ", the engine takes " + size(s.Resident) + " of memory"
	}
	switch {
	case s.Kind == "none":
		return []finding{{levelNote, "store", "switched off: events, runs and alerts cannot be listed; tap, top and the sinks work", "store.kind: embedded in the config"}}
	case s.NotReady != "":
		return []finding{{levelFail, "store", s.Kind + " is not ready: " + s.NotReady, "the journal keeps what comes; see the server's log"}}
	}
	return []finding{{levelOK, "store", text + ", ready", ""}}
}

// examineConsumers names those that are behind. The others are one line.
func examineConsumers(list []api.ConsumerStage) (out []finding) {
	fine := 0
	for _, c := range list {
		about := "consumer " + c.Name
		behind := fmt.Sprintf("%d %s behind, the oldest %s old", c.Lag, plural(int(c.Lag), "batch", "batches"), seconds(c.OldestUnread))
		switch {
		case c.LastError != "":
			out = append(out, finding{levelWarn, about, fmt.Sprintf("does not take its batches (%d retries): %s; %s", c.Retries, c.LastError, behind), "mend what the error names; it goes on by itself, nothing is lost"})
		case c.OldestUnread > 60:
			out = append(out, finding{levelWarn, about, behind, "if it does not catch up, it is slower than what comes in: agentrail top"})
		default:
			fine++
		}
		if c.Parked > 0 {
			out = append(out, finding{levelWarn, about, fmt.Sprintf("%d %s set aside as dead letters since start", c.Parked, plural(int(c.Parked), "record was", "records were")), "agentrail dlq ls --consumer " + c.Name})
		}
	}
	if fine > 0 {
		out = append(out, finding{levelOK, "consumers", fmt.Sprintf("%d of %d are within a minute of the newest record", fine, len(list)), ""})
	}
	return out
}

// examineReceiver judges a receiver of notifications about alerts.
func examineReceiver(r api.ReceiverStatus, now time.Time) finding {
	about := "notify " + r.Name
	text := fmt.Sprintf("%d sent, %d failed", r.Sent, r.Failed)
	if !r.Failing.IsZero() {
		return finding{levelFail, about, fmt.Sprintf("cannot be told of alerts since %s: %s; %s", ago(now.Sub(r.Failing)), r.Error, text), "mend what the error names; it is tried again and again, nothing is lost"}
	}
	if !r.Last.IsZero() {
		text += ", the last " + ago(now.Sub(r.Last)) + " ago"
	}
	return finding{levelOK, about, text, ""}
}

func examineSink(s *api.SinkStatus, consumers []api.ConsumerStage) finding {
	about := "sink " + s.Name
	behind := ""
	for _, c := range consumers {
		if c.Name == s.Name && c.Lag > 0 {
			behind = fmt.Sprintf(", %d %s behind", c.Lag, plural(int(c.Lag), "batch", "batches"))
		}
	}
	did := fmt.Sprintf("%d accepted, %d held back by the filter since start%s", s.Accepted, s.Filtered, behind)
	switch {
	case s.Held:
		return finding{levelFail, about, "the receiver does not let us in: " + s.LastError + "; " + did, "mend its token or certificate in the config and restart; its cursor waits, nothing is lost"}
	case s.LastError != "":
		return finding{levelWarn, about, s.LastError + "; " + did, "mend what the error names; it goes on by itself, nothing is lost"}
	case s.Dead > 0:
		return finding{levelWarn, about, fmt.Sprintf("%d events were refused by the receiver and are dead letters; %s", s.Dead, did), "agentrail dlq ls --consumer " + s.Name}
	case s.Seen > 0 && s.Seen == s.Filtered:
		return finding{levelNote, about, fmt.Sprintf("its filter held back all of %d events since start", s.Seen), "look at filter: in the config"}
	case s.Seen == 0:
		return finding{levelNote, about, "nothing was for it since start", ""}
	}
	return finding{levelOK, about, did, ""}
}

// examineNotary expects a head a minute while something comes, and one an hour
// otherwise.
func examineNotary(st *api.Status, now time.Time) finding {
	if st.LastHead.IsZero() {
		if now.Sub(st.Started) > 2*time.Hour {
			return finding{levelWarn, "evidence", "no head of the journal was signed since start", "see the server's log for part=notary"}
		}
		return finding{levelNote, "evidence", "no head of the journal was signed since start yet; one comes a minute after something new", ""}
	}
	age := now.Sub(st.LastHead)
	if age > 70*time.Minute {
		return finding{levelWarn, "evidence", "the last head was signed " + ago(age) + " ago; one is due every hour at least", "see the server's log for part=notary"}
	}
	return finding{levelOK, "evidence", "the last head was signed " + ago(age) + " ago", ""}
}

func examineLearning(l api.Learning) finding {
	about := "detector " + l.Detector
	if l.Keys == 0 {
		return finding{levelOK, about, "has counted nothing yet; each key needs " + l.Needs + " until it has a usual value of its own", ""}
	}
	if l.Learning == 0 {
		return finding{levelOK, about, fmt.Sprintf("%d keys, all have a usual value of their own", l.Keys), ""}
	}
	text := fmt.Sprintf("%d of %d keys are still being learned and judged by fixed limits; each needs %s", l.Learning, l.Keys, l.Needs)
	if !l.Ready.IsZero() {
		text += "; the first are ready " + l.Ready.Local().Format("2006-01-02 15:04 MST") + " at the earliest"
	}
	return finding{levelNote, about, text, "history teaches at once: agentrail import FILE"}
}
