"""The routers of all protocols, in the order in which /docs shows them."""

from typing import Final

from app.web.protocols.hugging_face import router as hugging_face
from app.web.protocols.kserve_v1 import router as kserve_v1
from app.web.protocols.oip.infer import router as oip_infer
from app.web.protocols.oip.routes import router as oip
from app.web.protocols.torchserve import router as torchserve

ROUTERS: Final = (hugging_face, oip_infer, oip, torchserve, kserve_v1)
