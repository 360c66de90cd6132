/* digest.c: the digest tree. */
#include "imagefmt/vol.h"

int digest_leave(struct dvol *vol, uint32_t index, struct err *err)
{
	static const uint8_t none[DVOL_ROOT];
	struct buf ops = {0};
	if (vol->catalog.digested != index)
		return 0;
	buf_put_u8(&ops, OP_DIGESTED);
	buf_put_u32(&ops, 0);
	buf_put_u32(&ops, vol->catalog.open_index);
	buf_put(&ops, none, DVOL_ROOT);
	return commit_op(vol, &ops, err);
}
