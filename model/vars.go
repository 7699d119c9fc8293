package model

import "github.com/zeromicro/go-zero/core/stores/sqlx"

// ErrNotFound is returned if no user matches, or the user has another session epoch.
var ErrNotFound = sqlx.ErrNotFound
