package model

import "github.com/zeromicro/go-zero/core/stores/sqlx"

// ErrNotFound says that there is no such user, or none with the session epoch asked for.
var ErrNotFound = sqlx.ErrNotFound
