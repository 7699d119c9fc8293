// Package model stores users in the wx_userinfo table of MySQL, MariaDB or SQLite. It does not
// depend on WeChat, sessions or HTTP. FindOne reads rows through a cache. Each write sets only the
// columns it names, so concurrent writes do not undo each other, and invalidates the cached row.
// Errors contain no values of the row.
//
// The migrations folder defines the table. goctl generates wx_userinfo_model_gen.go from
// schema.sql, the dump of a migrated database.
//
// go-zero logs statements with their values unless main calls sqlx.DisableLog, which is
// process-wide.
package model
