// Package contract has no code of its own: its tests hold the running program to the HTTP contract, from outside, as a client in the
// field meets it. The same table runs against every way to install the service (one process with everything embedded; one process on
// MariaDB and Redis; edge and user service apart) and in both forms of answers. Nothing imports it.
package contract
