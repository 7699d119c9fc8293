// Package model stores users: the wx_userinfo table in MySQL, MariaDB or SQLite, with a cache of
// rows by id in front of it. It knows nothing of WeChat, sessions or HTTP. The table comes from the
// migrations folder, wx_userinfo_model_gen.go from goctl, which reads schema.sql, the dump of a
// migrated database. Reads by id go through the cache. Writes name their columns, so that two at
// once both survive, and invalidate the cached row. Errors carry no values of the row.
//
// go-zero logs statements with their values unless main calls sqlx.DisableLog, which is process-wide.
package model
