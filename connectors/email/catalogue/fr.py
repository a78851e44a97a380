"""French."""

from __future__ import annotations

from connectors.email.texts import Texts

TEXTS = Texts(
    language="fr",
    direction="ltr",
    subject="Nouveau récapitulatif",
    title="Nouveautés de votre flux",
    listed="Voici les nouveautés de votre flux depuis le dernier récapitulatif.",
    counted=(
        "Votre flux contient des nouveautés. Ce message n’en montre pas le contenu, car nous n’avons pas de clé de "
        "chiffrement à votre nom."
    ),
    new="Nouveaux ou modifiés",
    withdrawn="Retirés",
    urgent="Urgents",
    by_category="Par catégorie",
    at_once="Urgent : des vies peuvent être en danger",
    stop="Retirés : cessez d’agir sur ces éléments et supprimez-les",
    category="Catégorie",
    confidence="Confiance",
    seen="Vu",
    id="Identifiant",
    not_listed="Autres éléments de votre flux, non listés ici",
    handling=(
        "Traitez chaque élément selon son marquage TLP. Les adresses sont modifiées pour que personne ne les ouvre "
        "par erreur."
    ),
    automatic="Ce message a été envoyé automatiquement.",
    categories={
        "shutdown": "Coupure d’internet",
        "censorship": "Censure",
        "spyware": "Logiciel espion",
        "surveillance": "Surveillance",
        "intrusion": "Intrusion",
        "phishing": "Hameçonnage",
        "account-takeover": "Prise de contrôle de compte",
        "ddos": "Déni de service",
        "doxxing": "Divulgation de données personnelles",
        "harassment": "Harcèlement",
        "defamation": "Diffamation",
        "impersonation": "Usurpation d’identité",
        "device-seizure": "Saisie d’appareils",
        "intimate-media": "Contenus intimes",
        "": "Non classé",
    },
)
