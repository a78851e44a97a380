"""Spanish."""

from __future__ import annotations

from connectors.email.texts import Texts

TEXTS = Texts(
    language="es",
    direction="ltr",
    subject="Nuevo resumen",
    title="Novedades de su canal",
    listed="Estas son las novedades de su canal desde el último resumen.",
    counted=(
        "Hay novedades en su canal. Este mensaje no incluye contenidos porque no tenemos una clave de cifrado suya."
    ),
    new="Nuevos o modificados",
    withdrawn="Retirados",
    urgent="Urgentes",
    by_category="Por categoría",
    at_once="Urgente: puede haber vidas en peligro",
    stop="Retirados: deje de actuar sobre ellos y elimínelos",
    category="Categoría",
    confidence="Confianza",
    seen="Visto",
    id="Identificador",
    not_listed="Otros en su canal que no figuran aquí",
    handling=(
        "Trate cada elemento según su marca TLP. Las direcciones están alteradas para que nadie las abra por error."
    ),
    automatic="Este mensaje se ha enviado automáticamente.",
    categories={
        "shutdown": "Corte de internet",
        "censorship": "Censura",
        "spyware": "Programa espía",
        "surveillance": "Vigilancia",
        "intrusion": "Intrusión",
        "phishing": "Phishing",
        "account-takeover": "Robo de cuenta",
        "ddos": "Denegación de servicio",
        "doxxing": "Divulgación de datos personales",
        "harassment": "Acoso",
        "defamation": "Difamación",
        "impersonation": "Suplantación de identidad",
        "device-seizure": "Incautación de dispositivos",
        "intimate-media": "Material íntimo",
        "": "Sin clasificar",
    },
)
