package sinks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/segmentio/kafka-go"
)

// produce sends records to a partition. Where the broker finds them too large
// together they are halved, so that only one that is too large alone is
// rejected; where it refuses some of them, the others are to be sent again.
func (s *kafkaSink) produce(ctx context.Context, p *kafkaPart, events []int, messages []kafka.Message) {
	records := make([]kafka.Record, len(messages))
	for i, m := range messages {
		records[i] = kafka.Record{Key: kafka.NewBytes(m.Key), Value: kafka.NewBytes(m.Value), Headers: m.Headers, Time: m.Time}
	}
	res, err := s.client.Produce(ctx, &kafka.ProduceRequest{
		Topic: s.conf.Topic, Partition: p.id, RequiredAcks: kafka.RequireAll, Compression: s.compression, Records: kafka.NewRecordReader(records...),
	})
	var refused map[int]error // by their index in the request
	if err == nil {
		err, refused = res.Error, res.RecordErrors
	}
	if err == nil {
		return
	}
	we, half := s.failure(ctx, err), len(events)/2
	alone := half == 0
	switch {
	case alone && (we.Kind == KindTooLarge || we.Kind == KindRefused):
		p.rejected = append(p.rejected, Item{events[0], we.Code, we.Error()})
	case we.Kind == KindTooLarge, we.Kind == KindRefused && len(refused) == 0:
		s.produce(ctx, p, events[:half], messages[:half])
		s.produce(ctx, p, events[half:], messages[half:])
	case we.Kind == KindRefused:
		for i, at := range events {
			if why := refused[i]; why != nil {
				p.rejected = append(p.rejected, Item{at, we.Code, fmt.Sprintf("%v: %.300s", we, why.Error())})
			} else {
				p.again = append(p.again, at)
			}
		}
		p.failed = &WriteError{Kind: KindRetry, Code: we.Code, Err: we.Err}
	default:
		p.again, p.failed = append(p.again, events...), we
		s.transport.CloseIdleConnections() // and what is known of the cluster: the leader may be another
	}
}

// kafkaOutcome is nil if all partitions took all. Where none took anything the
// write failed as a whole.
func kafkaOutcome(parts []*kafkaPart, events int) error {
	e := &WriteError{Kind: KindPartial}
	var failed *WriteError
	for _, p := range parts {
		e.Rejected, e.Again = append(e.Rejected, p.rejected...), append(e.Again, p.again...)
		if p.failed != nil && (failed == nil || p.failed.Kind == KindAuth) {
			failed = p.failed
		}
	}
	switch {
	case len(e.Again) == events && events > 0:
		return failed
	case failed != nil:
		e.Code, e.Err, e.RetryAfter = failed.Code, failed.Err, failed.RetryAfter
	case len(e.Rejected) > 0:
		e.Code, e.Err = e.Rejected[0].Code, errors.New(e.Rejected[0].Reason)
	default:
		return nil
	}
	slices.Sort(e.Again)
	return e
}

// failure maps an error to what is to be done.
func (s *kafkaSink) failure(ctx context.Context, err error) *WriteError {
	code, fromBroker := errors.AsType[kafka.Error](err)
	refused := s.dial.Refused(err)
	if !fromBroker && !refused && !errors.Is(err, errNoTopic) {
		return networkFailure(ctx, s.dial.Explain(err, kafkaRights))
	}
	e := &WriteError{Kind: KindRetry, Code: fmt.Sprintf("kafka_%d", int(code)), Err: fmt.Errorf("topic %s: %w", s.conf.Topic, s.dial.Explain(err, kafkaRights))}
	switch {
	case errors.Is(err, errNoTopic):
		e.Kind, e.Code = KindAuth, "no_topic"
	case refused && !fromBroker:
		e.Kind, e.Code = KindAuth, "login"
	case refused, code == kafka.InvalidTopic:
		e.Kind = KindAuth
	case code == kafka.MessageSizeTooLarge, code == kafka.RecordListTooLarge:
		e.Kind, e.Code = KindTooLarge, "record_too_large"
	case code == kafka.InvalidRecord, code == kafka.InvalidTimestamp, code == kafka.PolicyViolation:
		e.Kind = KindRefused
	}
	return e
}

const kafkaRights = "WRITE and DESCRIBE"
