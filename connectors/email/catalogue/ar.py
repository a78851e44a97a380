"""Arabic."""

from __future__ import annotations

from connectors.email.texts import Texts

TEXTS = Texts(
    language="ar",
    direction="rtl",
    subject="ملخص جديد",
    title="الجديد في قناتكم",
    listed="هذا هو الجديد في قناتكم منذ آخر ملخص.",
    counted="هناك جديد في قناتكم. لا تتضمن هذه الرسالة أي محتوى لأنه ليس لدينا مفتاح تشفير خاص بكم.",
    new="جديد أو معدّل",
    withdrawn="مسحوب",
    urgent="عاجل",
    by_category="حسب الفئة",
    at_once="عاجل: قد تكون هناك أرواح في خطر",
    stop="مسحوب: توقفوا عن استخدام هذه البيانات واحذفوها",
    category="الفئة",
    confidence="درجة الثقة",
    seen="فترة الرصد",
    id="المعرّف",
    not_listed="عناصر أخرى في قناتكم غير مدرجة هنا",
    handling="تعاملوا مع كل عنصر وفق تصنيف TLP الخاص به. عُدّلت العناوين كي لا يفتحها أحد عن طريق الخطأ.",
    automatic="أُرسلت هذه الرسالة تلقائيًا.",
    categories={
        "shutdown": "قطع الإنترنت",
        "censorship": "الرقابة",
        "spyware": "برامج تجسس",
        "surveillance": "مراقبة",
        "intrusion": "اختراق",
        "phishing": "تصيّد احتيالي",
        "account-takeover": "الاستيلاء على حساب",
        "ddos": "حجب الخدمة",
        "doxxing": "كشف معلومات شخصية",
        "harassment": "مضايقة",
        "defamation": "تشهير",
        "impersonation": "انتحال شخصية",
        "device-seizure": "مصادرة أجهزة",
        "intimate-media": "محتوى حميم",
        "": "غير مصنّف",
    },
)
