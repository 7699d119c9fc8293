package testenv

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// ManagedRedis returns the address of a proxy in front of a Redis, which refuses what proxies of
// clouds refuse: INFO, CONFIG, SCRIPT, and scripts in which the key of a command is not a literal
// KEYS[n]. It runs until the test ends.
func ManagedRedis(t testing.TB, target *RedisServer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target.Addr())
			if err != nil {
				client.Close()
				continue
			}
			go func() { _, _ = io.Copy(client, server); client.Close() }()
			go func() { filter(server, bufio.NewReader(client)); server.Close() }()
		}
	}()
	return l.Addr().String()
}

// filter copies commands until the connection ends. In place of a refused one it sends a command
// that Redis does not know, so that the error has its place among the replies.
func filter(server io.Writer, client *bufio.Reader) {
	for {
		words, err := readCommand(client)
		if err != nil {
			return
		}
		if refused(words) {
			words = []string{"REFUSED-BY-THE-PROXY"}
		}
		var out strings.Builder
		fmt.Fprintf(&out, "*%d\r\n", len(words))
		for _, word := range words {
			fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(word), word)
		}
		if _, err := io.WriteString(server, out.String()); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	words := make([]string, n)
	for i := range words {
		size, err := number()
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:size])
	}
	return words, err
}

var (
	anyCall     = regexp.MustCompile(`redis\.p?call\(`)
	allowedCall = regexp.MustCompile(`redis\.p?call\('(TIME'\)|(\w+)', KEYS\[\d+\][,)])`)
	inScript    = regexp.MustCompile(`(?i)publish|subscribe`)
)

func refused(words []string) bool {
	switch strings.ToUpper(words[0]) {
	case "INFO", "CONFIG", "SCRIPT":
		return true
	case "EVAL":
		script := words[1]
		return inScript.MatchString(script) ||
			len(anyCall.FindAllString(script, -1)) != len(allowedCall.FindAllString(script, -1))
	}
	return false
}
