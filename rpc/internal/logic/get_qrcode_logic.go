package logic

import "shares/rpc/pb"

// GetQrcode returns the name of the code's picture. The first call makes it.
func (l *GetQrcodeLogic) GetQrcode(in *pb.GetQrcodeReq) (*pb.GetQrcodeResp, error) {
	row, err := l.caller(in.GetCaller())
	if err != nil {
		return nil, err
	}
	name, err := l.QRCode(l.ctx, row.Id, in.GetPage(), in.GetScene())
	return &pb.GetQrcodeResp{Name: name}, err
}
