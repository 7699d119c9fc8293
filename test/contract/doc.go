// Package contract contains only tests. They check the HTTP interface of the running program. The
// same table runs against every kind of installation (one process with everything embedded; one
// process with MariaDB and Redis; api and rpc as separate processes) and with both forms of
// answers.
package contract
