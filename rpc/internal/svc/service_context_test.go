package svc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"shares/internal/reason"
	"shares/model"
	"shares/rpc/pb"
)

// users finds rows by one function; what else a model can is not asked for.
type users struct {
	model.WxUserinfoModel
	find func(id int64) (*model.WxUserinfo, error)
}

func (u users) FindOne(_ context.Context, id int64) (*model.WxUserinfo, error) { return u.find(id) }

func TestCaller(t *testing.T) {
	away := errors.New("away")
	rows := users{find: func(id int64) (*model.WxUserinfo, error) {
		switch id {
		case 7:
			return &model.WxUserinfo{Id: 7, SessionEpoch: 8}, nil
		case 8:
			return &model.WxUserinfo{Id: 8, SessionEpoch: -1}, nil
		case 9:
			return nil, away
		}
		return nil, fmt.Errorf("find: %w", model.ErrNotFound)
	}}
	for _, tt := range []struct {
		name   string
		caller *pb.Caller
		id     int64 // of the row; 0: none
		err    error // nil: SESSION_INVALID
	}{
		{"valid", &pb.Caller{UserId: 7, Epoch: 8}, 7, nil},
		{"an epoch of all 64 bits", &pb.Caller{UserId: 8, Epoch: 1<<64 - 1}, 8, nil},
		{"nobody", nil, 0, nil},
		{"no user", &pb.Caller{Epoch: 8}, 0, nil},
		{"revoked", &pb.Caller{UserId: 7, Epoch: 9}, 0, nil},
		{"no epoch", &pb.Caller{UserId: 7}, 0, nil},
		{"deleted", &pb.Caller{UserId: 6, Epoch: 8}, 0, nil},
		{"storage cannot tell", &pb.Caller{UserId: 9, Epoch: 8}, 0, away},
	} {
		t.Run(tt.name, func(t *testing.T) {
			row, err := (&ServiceContext{Users: rows}).Caller(context.Background(), tt.caller)
			if tt.id != 0 {
				if err != nil || row.Id != tt.id {
					t.Errorf("%v, %v", row, err)
				}
				return
			}
			if row != nil {
				t.Errorf("row %v", row)
			}
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
			} else if why, _ := reason.Of(err); why != reason.SessionInvalid {
				t.Errorf("%v, want %s", err, reason.SessionInvalid)
			}
		})
	}
}

func TestCallerGone(t *testing.T) {
	if err := CallerGone(nil); err != nil {
		t.Error(err)
	}
	away := errors.New("away")
	if err := CallerGone(away); err != away {
		t.Errorf("%v became %v", away, err)
	}
	if why, _ := reason.Of(CallerGone(fmt.Errorf("write: %w", model.ErrNotFound))); why != reason.SessionInvalid {
		t.Errorf("no such row: %s", why)
	}
}
