// Package images keeps pictures in a bucket: the rpc writes them (QR codes,
// avatars), the api reads them for its public GET route. A picture has one name
// for ever and never changes under it, so that readers may cache without
// limit. Nothing else of the program touches the bucket, and no type of the
// storage library leaves this package.
//
// # Bucket URLs
//
// With one replica, a folder; it is made when it is missing:
//
//	file:///var/lib/shares/pictures
//
// With several replicas, one S3 bucket for all of them. The credentials come
// from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, never from the URL, and
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured. Word for word, with the
// bucket's name and the region replaced by yours:
//
//	Tencent COS   s3://pictures-1250000000?region=ap-guangzhou&endpoint=https://cos.ap-guangzhou.myqcloud.com&request_checksum_calculation=when_required
//	Alibaba OSS   s3://pictures?region=oss-cn-hangzhou&endpoint=https://oss-cn-hangzhou.aliyuncs.com&request_checksum_calculation=when_required
//	MinIO         s3://pictures?region=us-east-1&endpoint=http://minio:9000&s3ForcePathStyle=true&request_checksum_calculation=when_required
//	AWS           s3://pictures?region=eu-central-1
//
// COS and OSS take the bucket in the host name only (the SDK puts it there),
// MinIO takes it in the path. Servers that are not AWS refuse the aws-chunked
// bodies with a trailing checksum that the SDK sends by default; an URL with an
// endpoint therefore gets request_checksum_calculation and
// response_checksum_validation as when_required even where it does not say so.
// The other options are those of gocloud.dev/blob/s3blob.URLOpener and
// gocloud.dev/aws.V2ConfigFromURLParams.
//
// The credentials need GetObject, PutObject and ListBucket: without the last
// one S3 answers 403 instead of 404 for a picture that is not there yet.
//
// For tests, mem:// is a new empty bucket in memory.
//
// # Writing is atomic
//
// S3 shows an object when it is complete. In a folder, a picture is written
// beside its place as <name>.<time>.tmp and then renamed; a process killed in
// between leaves such a file behind, which no valid name can reach and which
// may be deleted at any time.
package images
