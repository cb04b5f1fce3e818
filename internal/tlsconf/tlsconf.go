// Package tlsconf is how every client of ours trusts its server and shows
// itself: the same few keys under tls: of a source and of a sink.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Client is what the config says under tls.
type Client struct {
	CAFile     string `yaml:"ca_file"`     // PEM; in place of the system's roots
	CertFile   string `yaml:"cert_file"`   // PEM; client certificate
	KeyFile    string `yaml:"key_file"`    // PEM; its key
	ServerName string `yaml:"server_name"` // expected in the certificate, where the address names it otherwise
	Insecure   bool   `yaml:"insecure"`    // accept any certificate: for a laboratory only
}

// Config reads the files. A nil Client is no TLS and gives nil.
func (c *Client) Config() (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Insecure} //nolint:gosec // the operator's word
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", c.CAFile)
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("tls: cert_file and key_file go together")
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
