package process

import (
	"runtime/debug"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	const mb = 1 << 20
	for _, tt := range []struct {
		name string
		live uint64
		want int
	}{
		{"nothing known yet", 0, 1600},
		{"little in use", 8 * mb, 800},
		{"half of the headroom", 32 * mb, 200},
		{"all of it", 64 * mb, 100},
		{"more", 100 * mb, 64},
		{"much more", 500 * mb, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := gcPercent(tt.live, 64*mb); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestGiveHeadroom(t *testing.T) {
	percent := func() int { // there is no way to only look
		now := debug.SetGCPercent(-1)
		debug.SetGCPercent(now)
		return now
	}
	before := percent()
	defer debug.SetGCPercent(before)

	debug.SetGCPercent(50)
	stop := GiveHeadroom(1 << 40)
	if got := percent(); got != 50 {
		t.Errorf("what the operator chose became %d", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}

	debug.SetGCPercent(defaultPercent)
	stop = GiveHeadroom(1 << 40)
	for end := time.Now().Add(10 * time.Second); percent() == defaultPercent && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := percent(); got <= defaultPercent {
		t.Errorf("%d with much headroom", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := percent(); got != defaultPercent {
		t.Errorf("%d after the end", got)
	}
}
