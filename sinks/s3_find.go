package sinks

import (
	"context"
	"errors"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/agentrail/agentrail/schemas"
)

// Find asks for the head of the object that holds the event alone.
func (s *s3Sink) Find(ctx context.Context, ev *schemas.Event) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	key := s.key([]schemas.Event{*ev})
	if s.conf.Layout == "security_lake" {
		key = s.lakeKey(lakeFileOf(ev), s3Span(ev, ev))
	}
	_, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.conf.Bucket, Key: &key})
	if re, ok := errors.AsType[*awshttp.ResponseError](err); ok && re.HTTPStatusCode() == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, s3Failure(ctx, err)
	}
	return true, nil
}
