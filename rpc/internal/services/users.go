package services

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"shares/internal/config"
	"shares/internal/reason"
)

// maxIDs is the limit of ids in one call.
const maxIDs = 100

// user is a user as other services see it.
type user struct {
	ID        int64   `json:"id"`
	OpenID    string  `json:"openid"`
	UnionID   string  `json:"unionid"`
	NickName  string  `json:"nickName"`
	AvatarURL string  `json:"avatarURL"`
	Phone     *string `json:"phone,omitzero"` // nil: the caller may not read it
}

// users writes the users with the ids in the body, and as gone the ids that no user has.
func (h *Handler) users(w http.ResponseWriter, r *http.Request, caller config.Caller) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return reason.Error(reason.MethodNotAllowed)
	}
	return h.with(r, maxBody, func(body []byte) error {
		var in struct {
			IDs []int64 `json:"ids"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return reason.Error(reason.MalformedBody)
		}
		if in.IDs == nil {
			return reason.Field("ids", "required")
		}
		if len(in.IDs) > maxIDs {
			return reason.Field("ids", "too_many", "max", strconv.Itoa(maxIDs))
		}
		slices.Sort(in.IDs)
		gone := slices.Compact(in.IDs)
		ctx, cancel := context.WithTimeout(r.Context(), h.RPCTimeout)
		defer cancel()
		rows, err := h.FindMany(ctx, gone)
		if err != nil {
			return err
		}
		out := struct {
			Users []user  `json:"users"`
			Gone  []int64 `json:"gone"`
		}{}
		for _, row := range rows {
			gone = slices.DeleteFunc(gone, func(id int64) bool { return id == row.Id })
			u := user{row.Id, row.Openid, row.Unionid, row.NickName, h.Avatar(ctx, row.AvatarUrl), nil}
			if caller.Phone {
				u.Phone = &row.Phone
			}
			out.Users = append(out.Users, u)
		}
		out.Gone = gone
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		// Stored texts may hold invalid UTF-8. The error is that of a caller that disconnected.
		_ = json.MarshalWrite(w, out, jsontext.AllowInvalidUTF8(true))
		return nil
	})
}
