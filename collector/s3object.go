package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// object takes one object: nil when all of it is on disk.
func (s *bucketSource) object(ctx context.Context, o types.Object) error {
	got, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: o.Key, IfMatch: o.ETag})
	if _, gone := errors.AsType[*types.NoSuchKey](err); gone {
		s.log.Warn("an object is gone before it could be read", "key", *o.Key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("get object: %w", err)
	}
	defer got.Body.Close()
	// The name of its content, under which records without an id of their own
	// are the same when it is read again.
	name := "s3/" + s.cfg.Bucket + "/" + *o.Key + "@" + strings.Trim(aws.ToString(o.ETag), `"`)
	body := &connection{from: got.Body}
	p, err := NewParts(body, strings.HasSuffix(strings.TrimSuffix(strings.TrimSuffix(*o.Key, ".gz"), ".zst"), ".csv"), decode.Dialect{})
	if err != nil {
		if body.err != nil {
			return fmt.Errorf("read object: %w", body.err)
		}
		return s.refuse(ctx, name, decode.CodeTruncated, err.Error())
	}
	defer p.Close()
	for {
		part, err := p.Next()
		skipped := p.Skipped
		p.Skipped = nil
		for _, gap := range skipped {
			if err := s.refuse(ctx, name, decode.CodeTooLarge, fmt.Sprintf("bytes %d to %d hold a record of more than %d bytes", gap.From, gap.To, partRecord)); err != nil {
				return err
			}
		}
		switch {
		case body.err != nil: // what came before may be cut inside a record
			return fmt.Errorf("read object: %w", body.err)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return s.refuse(ctx, name, decode.CodeTruncated, err.Error())
		}
		if err := s.part(ctx, name, part); err != nil {
			return err
		}
	}
}

// connection keeps the error of the network apart from those of the content.
type connection struct {
	from io.Reader
	err  error
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// part stores one part of an object.
func (s *bucketSource) part(ctx context.Context, name string, part Part) error {
	mapping, lim := s.cfg.Mapping, decode.Limits{RecordBytes: int(s.cfg.MaxRecord)}
	_, table, err := tableType(part.ContentType)
	if err != nil {
		return err
	}
	if table {
		mapping = "csv"
	}
	m, err := s.mappings.Mapping(mapping)
	if err != nil {
		return err
	}
	media, body := part.ContentType, part.Body
	lim.Position = func(start uint32) string { return name + ":" + strconv.FormatInt(part.Base+int64(start), 10) }
	if d := watchedLogs(part); d != nil {
		if len(d.ends) == 0 {
			return nil
		}
		media, body, lim.Ends, lim.Position = typeJSON, d.body, d.ends, d.position
	}
	return insist(ctx, s.log, func() error {
		b := newBatch(s.tenant, s.name, s.cfg.Log, media, s.now(), body)
		if s.cfg.Backfill {
			b.Flags |= schemas.BatchBackfill
		}
		rejects, err := m.Read(b, lim)
		if len(b.Records) == 0 {
			return s.refuse(ctx, name, decode.CodeBadJSON, fmt.Sprintf("bytes %d to %d: %v", part.From, part.To, err))
		}
		for i := range rejects {
			rejects[i].Reason = fmt.Sprintf("%s from byte %d on: %s", name, part.From, rejects[i].Reason)
		}
		b.ID = batchID(b, name+":"+strconv.FormatInt(part.From, 10))
		return s.keep(ctx, b, rejects)
	})
}

// watchedLogs returns the messages if the part is documents of CloudWatch Logs,
// as Firehose writes them, one behind the other.
func watchedLogs(part Part) *delivery {
	switch firstKey(bytes.TrimPrefix(part.Body, []byte("["))) {
	case "messageType", "owner", "logGroup", "logStream", "logEvents", "subscriptionFilters":
	default:
		return nil
	}
	d := &delivery{}
	for at := 0; ; {
		from, to, _ := nextValue(part.Body, at)
		if from == to {
			return d
		}
		if !d.addLogs(part.Body[from:to]) {
			return nil
		}
		at = to
	}
}

// refuse parks what cannot be read of an object under the object's name.
func (s *bucketSource) refuse(ctx context.Context, name, code, why string) error {
	m, err := s.mappings.Mapping(s.cfg.Mapping)
	if err != nil {
		return err
	}
	return insist(ctx, s.log, func() error {
		b := newBatch(s.tenant, s.name, s.cfg.Log, typeJSON, s.now(), []byte(name))
		rejects := m.Refuse(b, decode.Limits{Position: func(uint32) string { return name + ": " + why }}, code, why)
		b.ID = batchID(b, name+": "+why)
		return s.keep(ctx, b, rejects)
	})
}

func (s *bucketSource) keep(ctx context.Context, b *schemas.Batch, rejects []decode.Reject) error {
	size := len(b.Body)
	k, err := keep(ctx, s.append, b, rejects)
	if err == nil {
		s.metrics.count(s.name, k, size, rejects)
	}
	return err
}
