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

// users fakes the two methods of the model that Caller uses.
type users struct {
	model.WxUserinfoModel
	find, recheck func(id int64) (*model.WxUserinfo, error)
}

func (u users) FindOne(_ context.Context, id int64) (*model.WxUserinfo, error) { return u.find(id) }

func (u users) Recheck(_ context.Context, cached *model.WxUserinfo) (*model.WxUserinfo, error) {
	return u.recheck(cached.Id)
}

func TestCaller(t *testing.T) {
	down := errors.New("down")
	rows := users{recheck: func(id int64) (*model.WxUserinfo, error) {
		switch id {
		case 7:
			return &model.WxUserinfo{Id: 7, SessionEpoch: 8}, nil
		case 8:
			return &model.WxUserinfo{Id: 8, SessionEpoch: -1}, nil
		case 9:
			return nil, down
		case 10:
			return &model.WxUserinfo{Id: 10, SessionEpoch: 8}, nil
		case 11:
			return nil, down
		}
		return nil, fmt.Errorf("find: %w", model.ErrNotFound)
	}}
	rows.find = func(id int64) (*model.WxUserinfo, error) {
		if id >= 10 { // the cached row is stale
			return &model.WxUserinfo{Id: id, SessionEpoch: 1}, nil
		}
		return rows.recheck(id)
	}
	for _, tt := range []struct {
		name   string
		caller *pb.Caller
		id     int64 // of the row; 0: none
		err    error // nil: SESSION_INVALID
	}{
		{"valid", &pb.Caller{UserId: 7, Epoch: 8}, 7, nil},
		{"an epoch of all 64 bits", &pb.Caller{UserId: 8, Epoch: 1<<64 - 1}, 8, nil},
		{"no caller", nil, 0, nil},
		{"no user", &pb.Caller{Epoch: 8}, 0, nil},
		{"revoked", &pb.Caller{UserId: 7, Epoch: 9}, 0, nil},
		{"no epoch", &pb.Caller{UserId: 7}, 0, nil},
		{"deleted", &pb.Caller{UserId: 6, Epoch: 8}, 0, nil},
		{"new session, stale cache", &pb.Caller{UserId: 10, Epoch: 8}, 10, nil},
		{"revoked, stale cache", &pb.Caller{UserId: 10, Epoch: 7}, 0, nil},
		{"stale cache, storage down", &pb.Caller{UserId: 11, Epoch: 8}, 0, down},
		{"deleted, stale cache", &pb.Caller{UserId: 12, Epoch: 8}, 0, nil},
		{"storage down", &pb.Caller{UserId: 9, Epoch: 8}, 0, down},
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
