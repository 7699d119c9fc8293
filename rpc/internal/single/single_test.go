package single

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/internal/devredis"
	"shares/internal/testenv"
)

func TestOneOfManyMakes(t *testing.T) {
	server := testenv.Redis(t)
	replicas := []redis.UniversalClient{server.Client(t), server.Client(t)}
	var there atomic.Bool
	var made atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := Do(t.Context(), replicas[i%2], "lock", time.Minute,
				func() (bool, error) { return there.Load(), nil },
				func() error {
					made.Add(1)
					time.Sleep(50 * time.Millisecond) // for others to come
					there.Store(true)
					return nil
				})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("made %d times, want once", n)
	}
	if n := replicas[0].Exists(t.Context(), "lock").Val(); n != 0 {
		t.Error("the lock is still held")
	}
}

// The lock works on a real Redis and on the embedded one for development.
func TestWaiting(t *testing.T) {
	t.Run("redis", func(t *testing.T) { testWaiting(t, testenv.Redis(t).Client(t)) })
	t.Run("embedded", func(t *testing.T) {
		address, stop, err := devredis.Start()
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		client := redis.NewClient(&redis.Options{Addr: address})
		defer client.Close()
		testWaiting(t, client)
	})
}

func testWaiting(t *testing.T, client redis.UniversalClient) {
	failed := errors.New("failed")
	never := func() error { t.Error("make was called while another process holds the lock"); return nil }
	for name, tt := range map[string]struct {
		ttl   time.Duration // of the lock that another process holds
		found func(look int) (bool, error)
		make  func() error
		want  error
	}{
		"finds the holder's result":     {time.Hour, func(look int) (bool, error) { return look == 3, nil }, never, nil},
		"ends with an error of found":   {time.Hour, func(look int) (bool, error) { return false, failed }, never, failed},
		"ends with its context":         {time.Hour, func(int) (bool, error) { return false, nil }, never, context.DeadlineExceeded},
		"takes over from a dead holder": {50 * time.Millisecond, func(int) (bool, error) { return false, nil }, func() error { return failed }, failed},
		"checks again with the lock":    {time.Millisecond, func(look int) (bool, error) { return look > 1, nil }, never, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := client.Set(t.Context(), "lock", "another's", tt.ttl).Err(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if tt.want == context.DeadlineExceeded {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			looks := 0
			err := Do(ctx, client, "lock", time.Minute, func() (bool, error) { looks++; return tt.found(looks) }, tt.make)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if held := client.Get(t.Context(), "lock").Val(); tt.ttl == time.Hour && held != "another's" {
				t.Errorf("the lock is %q, want the holder's", held)
			}
		})
	}
}

func TestWithoutRedisEachProcessMakes(t *testing.T) {
	server := testenv.Redis(t)
	client := server.Client(t)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	made := errors.New("made")
	err := Do(t.Context(), client, "lock", time.Minute,
		func() (bool, error) { return false, nil }, func() error { return made })
	if err != made {
		t.Errorf("got %v, want %v", err, made)
	}
}

func TestDeleteLeavesAnotherValue(t *testing.T) {
	client := testenv.Redis(t).Client(t)
	for value, left := range map[string]int64{"old": 0, "new": 1} {
		if err := client.Set(t.Context(), "key", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := Delete(t.Context(), client, "key", "old"); err != nil {
			t.Fatal(err)
		}
		if n := client.Exists(t.Context(), "key").Val(); n != left {
			t.Errorf("%q: %d keys are left, want %d", value, n, left)
		}
	}
}
