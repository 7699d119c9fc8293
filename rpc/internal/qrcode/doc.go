// Package qrcode makes WeChat's mini program codes, each distinct one once, and
// keeps them in a bucket that all replicas share. Only the rpc's logic calls
// it; it knows WeChat by the Maker interface and the bucket by Store.
//
// # One generation per code
//
// A code's name in the bucket is a hash of everything that its picture depends
// on, so the bucket is the truth: what is there is never made again. A name is
// looked for among those that this process knows to exist (no I/O), then in the
// bucket. If it is not there, the requests of a process join in one flight, and
// the flights of several replicas take turns by a lock in Redis: whoever gets
// it looks into the bucket again, the others look every few moments. Without
// Redis there is no lock, and each replica may make the code once; they write
// the same name, so nothing worse follows. The limits fail open too: WeChat
// counts as well.
//
// A flight goes on when the request that started it hangs up, because the quota
// is spent by then and the next request is glad of the picture.
//
// A picture is written only after it was decoded to its end. A failed
// generation stores nothing, and is remembered for some seconds, among replicas
// too where WeChat was away, so that a stampede does not reach WeChat.
//
// # Bucket lifecycle
//
// Every code can be made again at any time, so a lifecycle rule that deletes
// objects under qrcode/ is safe, if it leaves them for longer than anyone holds
// their URL: a deleted picture is not found at its URL until get_qrcode is
// called for its page and scene again. Up to ten minutes after the deletion
// (Options.KnownFor) get_qrcode still answers the URL without looking; browsers
// and a CDN keep a picture for up to a year on their own. Printed posters
// carry the picture itself and depend on no URL. A rule of 90 days after
// creation suits an app that asks for the code whenever it shows it.
package qrcode
