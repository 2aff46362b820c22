package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"chancery/resolver"
)

// reloadEvery is how often files are looked at, at most; only when they are needed.
const reloadEvery = time.Second

// mostReloaded bounds each file.
const mostReloaded = 1 << 20

// reloaded is what files hold, read anew when they changed. While they cannot be used,
// what they held before stays in force. It is safe for concurrent use.
type reloaded[T any] struct {
	// what names it in the log.
	what  string
	files []string
	parse func(texts [][]byte) (T, error)
	now   func() time.Time
	log   *slog.Logger

	current atomic.Pointer[T]
	// next is when the files are looked at again, in nanoseconds since 1970.
	next atomic.Int64
	mu   sync.Mutex
	// tried is the hash of what was read last, used or not.
	tried [sha256.Size]byte
}

// reload reads the files for the first time; that must succeed.
func reload[T any](what string, parse func(texts [][]byte) (T, error), files ...string) (*reloaded[T], error) {
	f := &reloaded[T]{what: what, files: files, parse: parse, now: time.Now, log: slog.New(slog.DiscardHandler)}
	texts, err := f.read()
	if err != nil {
		return nil, err
	}
	v, err := parse(texts)
	if err != nil {
		return nil, err
	}
	f.tried = hashOf(texts)
	f.current.Store(&v)
	return f, nil
}

// tell sets where changes are logged; it does nothing for files that are not there. It
// must be called before get.
func (f *reloaded[T]) tell(log *slog.Logger) {
	if f != nil {
		f.log = log
	}
}

// get returns what the files hold.
func (f *reloaded[T]) get() T {
	if now := f.now().UnixNano(); now >= f.next.Load() && f.mu.TryLock() {
		f.look()
		f.next.Store(now + int64(reloadEvery))
		f.mu.Unlock()
	}
	return *f.current.Load()
}

// look reads the files and takes what is new in them. A trouble is told once.
func (f *reloaded[T]) look() {
	texts, err := f.read()
	if err != nil {
		texts = [][]byte{[]byte(err.Error())}
	}
	hash := hashOf(texts)
	if hash == f.tried {
		return
	}
	f.tried = hash
	var v T
	if err == nil {
		v, err = f.parse(texts)
	}
	if err != nil {
		f.log.ErrorContext(context.Background(), "a file that changed cannot be used; what it held before stays in force", slog.String("what", f.what), slog.String("error", err.Error()))
		return
	}
	f.current.Store(&v)
	f.log.InfoContext(context.Background(), "a file that changed is in force", slog.String("what", f.what))
}

func (f *reloaded[T]) read() ([][]byte, error) {
	out := make([][]byte, len(f.files))
	for i, name := range f.files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading file %d of %d: %s", i+1, len(f.files), reason(err))
		}
		if len(text) > mostReloaded {
			return nil, errors.New("the file is too long")
		}
		out[i] = text
	}
	return out, nil
}

func hashOf(texts [][]byte) [sha256.Size]byte { return sha256.Sum256(bytes.Join(texts, []byte{0})) }

// keyPair reads a certificate and its key.
func keyPair(cert, key string) (*reloaded[*tls.Certificate], error) {
	return reload("TLS certificate", func(texts [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(texts[0], texts[1])
		if err != nil {
			return nil, errors.New("certificate and key cannot be used together or not be read")
		}
		return &pair, nil
	}, cert, key)
}

// authorities reads the certificates that sign those of clients.
func authorities(file string) (*reloaded[*x509.CertPool], error) {
	return reload("client CA", func(texts [][]byte) (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(texts[0]) {
			return nil, errors.New("no certificate (PEM) is in it")
		}
		return pool, nil
	}, file)
}

// credentials reads users or tokens.
func credentials(what string, parse func([]byte) (*resolver.Credentials, error), file string) (*reloaded[*resolver.Credentials], error) {
	return reload(what, func(texts [][]byte) (*resolver.Credentials, error) { return parse(texts[0]) }, file)
}

// serverTLS makes every handshake with the certificate of the moment. With clients,
// who shows no certificate that one of them signed does not come in; a session is never
// resumed then, since that would skip the check.
func serverTLS(pair *reloaded[*tls.Certificate], clients *reloaded[*x509.CertPool]) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
	}
	if clients == nil {
		return c
	}
	c.SessionTicketsDisabled = true
	c.ClientAuth = tls.RequireAndVerifyClientCert
	strict := c.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := strict.Clone()
		now.ClientCAs = clients.get()
		return now, nil
	}
	return c
}
