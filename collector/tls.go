package collector

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// clientTLS says how the servers that a source asks are trusted, and how we show
// ourselves.
type clientTLS struct {
	CAFile     string `yaml:"ca_file"`              // PEM; in place of the system's roots
	CertFile   string `yaml:"cert_file"`            // PEM; client certificate
	KeyFile    string `yaml:"key_file"`             // PEM; its key
	ServerName string `yaml:"server_name"`          // expected in the certificates, where servers go by other names
	Insecure   bool   `yaml:"insecure_skip_verify"` // accept any certificate: for a laboratory only
}

func (t *clientTLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure} //nolint:gosec // the operator's word
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("tls: cert_file and key_file go together")
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
