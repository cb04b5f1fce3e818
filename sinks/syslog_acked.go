package sinks

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged returns how many bytes of the connection the other machine
// has not acknowledged. Of a connection that either side has closed it returns
// an error: its queue is empty since it was thrown away.
func unacknowledged(c *net.TCPConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var qerr, serr error
	var info *unix.TCPInfo
	err = raw.Control(func(fd uintptr) {
		n, qerr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		info, serr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) // after the queue
	})
	if err := errors.Join(err, qerr, serr); err != nil {
		return 0, err
	}
	if info.State != unix.BPF_TCP_ESTABLISHED {
		return 0, errors.New("connection does not stand")
	}
	return n, nil
}
