//go:build integration

package sinks

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/gzip"

	"github.com/agentrail/agentrail/schemas"
)

// TestS3IntoMinIO sends to a bucket with object lock of a MinIO that checks
// signatures and checksums, and reads the objects back. A repeat replaces its
// object, a wrong key is held, a locked object cannot be deleted.
func TestS3IntoMinIO(t *testing.T) {
	base := startMinIO(t)
	fields := "region: us-east-1\npath_style: true\nendpoint: " + base + "\naccess_key: agentrail\nbucket: evidence\n" +
		"key: '{sink}/{date}/{hour}/{range}.gz'\nlock_mode: COMPLIANCE\nlock_for: 1h\nbatch: {max_events: 700}\nsecret_key: "
	sink, fw := openTest(t, "s3", fields+"correct-horse", nil)
	client := sink.(*s3Sink).client
	waitFor(t, "bucket", func() bool { // it is ready before it serves
		_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("evidence"), ObjectLockEnabledForBucket: aws.Bool(true)})
		if err != nil {
			t.Logf("create bucket: %v", err)
		}
		return err == nil
	})
	if err := fw.Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	b := testBatch(1, 3000)
	for range 2 {
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("evidence")})
	if err != nil {
		t.Fatal(err)
	}
	got := map[schemas.ID]int{}
	for _, o := range list.Contents {
		object, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("evidence"), Key: o.Key})
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(object.Body)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(z); lines.Scan(); {
			got[lineID(t, lines.Text())]++
		}
		object.Body.Close()
		if object.ObjectLockMode != "COMPLIANCE" {
			t.Errorf("object %s has the lock %q", *o.Key, object.ObjectLockMode)
		}
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("evidence"), Key: o.Key, VersionId: object.VersionId}); err == nil {
			t.Errorf("object %s could be deleted", *o.Key)
		}
	}
	sameIDs(t, wantIDs(b), got)
	once(t, got)
	if len(list.Contents) != 5 {
		t.Errorf("%d objects, want 5: a repeat made others", len(list.Contents))
	}
	wrong, _ := openTest(t, "s3", fields+"wrong", nil)
	if _, err := wrong.Write(t.Context(), b.Events); asWriteError(err).Kind != KindAuth || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("wrong key: got %v", err)
	}
}

// startMinIO starts the receiver on a free port and waits for it.
func startMinIO(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("AGENTRAIL_MINIO")
	if binary == "" {
		t.Fatal("AGENTRAIL_MINIO is not set; deploy/integration/s3.sh builds the receiver and sets it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(binary, "server", "--quiet", "--address", addr, "--console-address", "127.0.0.1:0", t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER=agentrail", "MINIO_ROOT_PASSWORD=correct-horse", "MINIO_UPDATE=off", "HOME="+t.TempDir())
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("receiver said: %s", said.String())
		}
	})
	waitFor(t, "receiver", func() bool {
		resp, err := http.Get("http://" + addr + "/minio/health/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + addr
}
