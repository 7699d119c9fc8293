package rpc

import (
	"context"

	"github.com/redis/go-redis/v9"

	"shares/internal/quota"
	"shares/rpc/internal/single"
	"shares/rpc/internal/wechat"
)

// ProbeRedis runs the service's Redis commands, except those of the user cache, on probe keys. It
// reports each step and its error.
func ProbeRedis(ctx context.Context, client redis.UniversalClient, appID string, report func(step string, err error)) {
	report("quota of QR codes", quota.Probe(ctx, client, "shares:qrcode:"+appID+":probe"))
	report("quota of avatars", quota.Probe(ctx, client, "shares:avatar:"+appID+":probe"))
	report("lock of a QR code", single.Probe(ctx, client, "shares:qrcode:"+appID+":probe:lock"))
	report("store and read the access token", wechat.ProbeRedis(ctx, client, appID))
	report("lock of the access token", single.Probe(ctx, client, "wx:"+appID+":stable_token:probe:lock"))
}
